// What an application does with rows: create, list with filter, sort, expand and fields, change, batch, delete.

const hostile = `O'Neil said "1 < 2 > 0" & 50% of ünïcödé 漢字 🙂 \\ /?#`;

export async function records({ saw, refused, user, guest }) {
  const [authors, posts] = [user.collection('authors'), user.collection('posts')];
  const ada = await saw('a row is created', () => authors.create({ name: 'Ada' }));
  const odd = await saw('a row with every kind of character is created', () => authors.create({ name: hostile }));
  await saw('a row with every kind of field is created', () => posts.create(full('First', ada.id)));
  await posts.create({ title: 'Second', views: 5, author: odd.id, tags: ['red'] });
  await posts.create({ title: hostile, views: 7, author: ada.id });

  await saw('rows are listed', () => guest.collection('posts').getList(1, 2, { sort: '-views,title', expand: 'author' }));
  await saw('the second page', () => guest.collection('posts').getList(2, 2, { sort: '-views,title', skipTotal: true }));
  await saw('all rows', () => guest.collection('posts').getFullList({ sort: 'title', fields: 'title,views,expand.author.name', expand: 'author' }));
  await saw('rows expanded backwards', () => guest.collection('authors').getFullList({ sort: 'name', expand: 'posts_via_author', fields: 'name,expand.posts_via_author.title' }));
  await saw('an excerpt', () => guest.collection('posts').getFullList({ sort: 'title', fields: 'title:excerpt(5,true)' }));
  for (const [name, filter] of Object.entries(filters(guest))) {
    await saw(`filter: ${name}`, async () => (await guest.collection('posts').getFullList({ filter, sort: 'title' })).map(({ title }) => title));
  }
  await saw('the first of a filter', () => guest.collection('authors').getFirstListItem(guest.filter('name = {:name}', { name: hostile })));
  await refused(400, 'a filter that cannot be read', () => guest.collection('posts').getList(1, 1, { filter: 'title = ' }));

  const second = await guest.collection('posts').getFirstListItem('title = "Second"');
  await saw('a row is viewed', () => guest.collection('posts').getOne(second.id, { expand: 'author' }));
  await saw('a row is changed', () => posts.update(second.id, { 'views+': 3, 'tags+': 'blue', 'tags-': 'red', meta: null }));
  await refused(400, 'a row is refused with field errors', () => posts.update(second.id, { title: '', views: -1.5, link: 'nowhere', tags: ['mauve'], author: 'nobody' }));
  await batch({ saw, refused, user, second });
}

const full = (title, author) => ({
  title,
  author,
  text: '<p>rich &amp; <b>bold</b></p>',
  views: 12,
  published: true,
  tags: ['red', 'green'],
  day: '2026-01-02 03:04:05.678Z',
  meta: { nested: [1, 2.5, null, 'ü', { deep: true }] },
  link: 'https://example.com/a?b=c&d=%20#e',
  place: { lon: 23.32, lat: 42.69 },
});

const filters = (pb) => ({
  'smaller and larger': 'views > 4 && views < 8 && views <= 7 && views >= 5',
  'double quotes': 'title = "First"',
  'single quotes': "title = 'First' || title = 'Sec\\'ond'",
  'quotes inside quotes': pb.filter('title ~ {:part}', { part: `"1 < 2 > 0"` }),
  'every kind of character': pb.filter('title = {:title}', { title: hostile }),
  'a percent sign': pb.filter('title ~ {:part}', { part: '%50%' }),
  unicode: 'title ~ "漢字" && title ~ "🙂"',
  relation: 'author.name = "Ada"',
  'any of many': 'tags:each ?= "green"',
  modifiers: 'tags:length = 1 || tags:each = "green"',
  macro: 'created <= @now && created > @yesterday',
  distance: 'geoDistance(place.lon, place.lat, 23.32, 42.69) < 25',
  comment: 'title = "First" // and nothing else',
});

async function batch({ saw, refused, user, second }) {
  const several = user.createBatch();
  several.collection('authors').create({ name: 'Grace', id: 'gracehopper0001' });
  several.collection('posts').update(second.id, { 'views+': 1 }, { fields: 'views' });
  several.collection('authors').upsert({ id: 'gracehopper0001', name: 'Grace H.' });
  several.collection('posts').create({ title: 'With a file', attachment: new File(['batched'], 'batched.txt', { type: 'text/plain' }) });
  await saw('a batch', () => several.send());
  const failing = user.createBatch();
  failing.collection('authors').create({ name: 'Nobody' });
  failing.collection('authors').create({ name: 'x' });
  await refused(400, 'a batch is refused with the errors of its part', () => failing.send());
  await saw('nothing of a refused batch is kept', () => user.collection('authors').getList(1, 5, { filter: 'name = "Nobody"' }));
}

export async function removal({ saw, refused, admin, user }) {
  const grace = await admin.collection('authors').getFirstListItem('name = "Grace H."');
  await refused(403, 'a user may not delete', () => user.collection('authors').delete(grace.id));
  await saw('a row is deleted', () => admin.collection('authors').delete(grace.id));
  await refused(404, 'a deleted row is gone', () => admin.collection('authors').getOne(grace.id));
}
