migrate((app) => {
  // A migration that throws stops PocketBase: what cannot be done is logged and left to `generatio doctor --fix`.
  try {
    const hooks = app.store().get("generatio_hooks")
    if (!hooks) throw new Error("pb_hooks/generatio.pb.js was not loaded; install pb_hooks too")
    require(`${hooks}/generatio/steps.js`).step(app, "data")
  } catch (cause) {
    console.log(`generatio: data not done: ${cause}`)
  }
}, () => {})
