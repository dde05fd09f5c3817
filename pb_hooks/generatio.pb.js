/// <reference path="../pb_data/types.d.ts" />

// Where the migrations find the code that they share with the routes below.
$app.store().set("generatio_hooks", __hooks)

routerAdd("GET", "/api/generatio/version", (e) => {
  return e.json(200, require(`${__hooks}/generatio/about.js`).version($app))
}, $apis.requireSuperuserAuth())

routerAdd("POST", "/api/generatio/repair", (e) => {
  return require(`${__hooks}/generatio/answer.js`).answer(e, (body) => require(`${__hooks}/generatio/about.js`).repair($app, body))
}, $apis.requireSuperuserAuth())
