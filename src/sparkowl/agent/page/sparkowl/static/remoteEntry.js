// What Jupyter loads first: a container of module federation, written by hand.
//
// Jupyter calls init() with the modules that the page shares, then get("./extension") for our
// plugin. The rest are native modules beside this file.
(() => {
  "use strict";
  const folder = new URL(".", document.currentScript.src).href;
  let scope = {};

  // A module of the page by its package's name, as every prebuilt extension gets it.
  async function shared(name) {
    const versions = Object.values(scope[name] ?? {});
    if (versions.length === 0) throw new Error(`the page shares no ${name}`);
    const offered = versions.find((version) => version.loaded) ?? versions[0];
    return (await offered.get())();
  }

  (window._JUPYTERLAB ??= {}).sparkowl = {
    init(shareScope) {
      scope = shareScope;
    },
    async get() {
      const { plugin } = await import(`${folder}plugin.js`);
      const found = plugin(shared, folder);
      return () => ({ __esModule: true, default: found });
    },
  };
})();
