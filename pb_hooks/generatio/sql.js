/** Reading and writing rows by SQL, in the transaction that `app` is in. */

/** Rows of the given shape; `""` stands for text and `0` for whole numbers, so a query must not answer NULL. */
function rows(app, sql, shape, bind) {
  const list = arrayOf(new DynamicModel(shape))
  app.db().newQuery(sql).bind(bind || {}).all(list)
  return list
}

/** The first row; for queries that always have one. */
function row(app, sql, shape, bind) {
  return rows(app, sql, shape, bind)[0]
}

/** Answers how many rows it changed. */
function change(app, sql, bind) {
  return app.db().newQuery(sql).bind(bind || {}).execute().rowsAffected()
}

module.exports = { rows, row, change }
