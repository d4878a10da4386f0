/** The client for etcd and everything that speaks its v3 API. */
import '../../core/runtime.ts';

export {
  type EndpointHealth,
  type EtcdExtras,
  etcdKv,
  etcdService,
} from './etcd-service.ts';
export type { EtcdOptions, EtcdTls } from './options.ts';
