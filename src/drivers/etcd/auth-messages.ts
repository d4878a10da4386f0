/** The messages of `etcdserverpb.Auth` that a client needs to log in. */

import { ResponseHeader as ResponseHeaderType } from '../../proto/etcd.ts';
import { field, type MessageType, messageType } from '../../proto/message.ts';
import type { ResponseHeader } from '../../proto/messages.ts';

export interface AuthenticateRequest {
  username: string;
  password: string;
}
export interface AuthenticateResponse {
  header: ResponseHeader | undefined;
  token: string;
}

export const AuthenticateRequest: MessageType<AuthenticateRequest> = messageType(
  'etcdserverpb.AuthenticateRequest',
  [field(1, 'username', 'string', { protoName: 'name' }), field(2, 'password', 'string')],
  () => ({ username: '', password: '' }),
);

export const AuthenticateResponse: MessageType<AuthenticateResponse> = messageType(
  'etcdserverpb.AuthenticateResponse',
  [
    field(1, 'header', 'message', { message: () => ResponseHeaderType }),
    field(2, 'token', 'string'),
  ],
  () => ({ header: undefined, token: '' }),
);
