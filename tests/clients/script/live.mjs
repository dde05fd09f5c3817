// What a live application does: subscribe, hear, stop hearing, and hear again after PocketBase was away.
import { until } from '../harness.mjs';

export async function realtime({ saw, refused, admin, user, client, restartPocketBase }) {
  const [one, two] = [listener(client()), listener(user)];
  const authors = admin.collection('authors');
  const first = await authors.create({ name: 'Heard' });
  await one.subscribe('authors', '*');
  await two.subscribe('authors', first.id, { fields: 'name' });
  await two.subscribe('papers', '*', { expand: 'nothing', query: { filter: `"it's <this>" != ""` } });

  await authors.update(first.id, { name: 'Heard twice' });
  await one.heard(1);
  await two.heard(1);
  const second = await authors.create({ name: 'Heard by one' });
  await one.heard(2);
  await admin.collection('papers').create({});
  await two.heard(2);
  await one.unsubscribe('authors', '*');
  await one.subscribe('authors', second.id);
  await authors.update(first.id, { name: 'Heard by two' });
  await two.heard(3);
  await authors.update(second.id, { name: 'Heard by one again' });
  await one.heard(3);
  await saw('what the first client heard', () => one.events);
  await saw('what the second client heard', () => two.events);

  await restartPocketBase();
  await one.connected(2);
  await two.connected(2);
  await authors.update(second.id, { name: 'Heard after the restart' });
  await one.heard(4);
  await authors.delete(first.id);
  await two.heard(4);
  await saw('what the first client heard after a restart', () => one.events.slice(3));
  await saw('what the second client heard after a restart', () => two.events.slice(3));
  await one.close();
  await two.close();
  await saw('both clients have hung up', () => [one.isConnected(), two.isConnected()]);
  await refused(404, 'a client that is not there cannot subscribe', () =>
    user.send('/api/realtime', { method: 'POST', body: { clientId: 'nobody', subscriptions: ['authors/*'] } }),
  );
}

function listener(pb) {
  const events = [];
  let connects = 0;
  pb.realtime.subscribe('PB_CONNECT', () => connects++);
  return {
    events,
    subscribe: (collection, topic, options) => pb.collection(collection).subscribe(topic, (event) => events.push({ topic, ...event }), options),
    unsubscribe: (collection, topic) => pb.collection(collection).unsubscribe(topic),
    heard: (count) => until(`event ${count}`, () => events.length >= count),
    connected: (count) => until(`connection ${count}`, () => connects >= count),
    isConnected: () => pb.realtime.isConnected,
    close: () => pb.realtime.unsubscribe(),
  };
}
