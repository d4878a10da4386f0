/** Version numbers that the outside sees. */

/** Of this package; a test holds it equal to `package.json`. */
export const VERSION: string = '0.1.0';

/** Of the etcd API that is spoken: clients decide by it what they may ask. */
export const ETCD_VERSION: string = '3.6.16';
