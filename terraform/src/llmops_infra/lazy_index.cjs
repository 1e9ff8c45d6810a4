"use strict";
// Node loads this before jsii. The provider's index requires the modules of all its 2,500 resources, several seconds of
// compiling for the hundred that a stack names; here each is required when it is first named.
const Module = require("module");

const INDEX = /[\\/]provider-aws[\\/]lib[\\/]index\.js$/;
const EXPORT = /^exports\.(\w+) = __importStar\(require\(("[^"\n]+")\)\);$/gm;
const LAZY = 'Object.defineProperty(exports, "$1", { enumerable: true, get: () => require($2) });';

const compile = Module.prototype._compile;
Module.prototype._compile = function (content, filename, ...rest) {
  return compile.call(this, INDEX.test(filename) ? content.replace(EXPORT, LAZY) : content, filename, ...rest);
};
