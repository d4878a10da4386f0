/** What a service that is reached over HTTP needs around its routes: `quorate/http`. */
import '../core/runtime.ts';
