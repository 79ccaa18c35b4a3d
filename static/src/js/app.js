// The page works without any of this; each module adds one comfort.
import * as composer from "./composer.js";
import * as copy from "./copy.js";
import * as dom from "./dom.js";
import * as menus from "./menus.js";
import * as reviewform from "./reviewform.js";
import * as scroll from "./scroll.js";
import * as shortcuts from "./shortcuts.js";
import * as socket from "./socket.js";
import * as theme from "./theme.js";
import * as time from "./time.js";

document.documentElement.classList.add("scripted");
for (const module of [dom, scroll, composer, copy, menus, reviewform, shortcuts, theme, time, socket]) module.start();
