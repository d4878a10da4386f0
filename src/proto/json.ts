/**
 * Messages as JSON, by the rules of proto3's JSON mapping as etcd's gateway applies them: field
 * names of the `.proto` file, 64-bit numbers as strings, bytes in base64, enums by name, and what
 * is zero left out. Both spellings of a field's name are read, and unknown fields are passed over.
 */
import { unreachable } from '../core/assert.ts';
import { invalid, type QuorateError } from '../core/errors.ts';
import type { MessageType } from './etcd.ts';
import type { AnyMessageType, Field } from './message.ts';

/** Transactions may nest; nothing sensible nests deeper. */
const MAX_DEPTH = 64;

type Loose = Record<string, unknown>;

/** The JSON text of a message. */
export function toJson<T extends object>(type: MessageType<T>, message: T): string {
  return JSON.stringify(toValue(type as unknown as AnyMessageType, message as Loose));
}

function toValue(type: AnyMessageType, message: Loose): Loose {
  const out: Loose = {};
  for (const field of type.fields) {
    const value = message[field.name];
    if (field.repeated) {
      const list = value as readonly unknown[];
      if (list.length > 0) out[field.protoName] = list.map((one) => scalarToJson(field, one));
    } else if (!isZero(value)) {
      out[field.protoName] = scalarToJson(field, value);
    }
  }
  return out;
}

function isZero(value: unknown): boolean {
  return value === undefined || value === 0 || value === '' || value === false || value === 0n;
}

function scalarToJson(field: Field, value: unknown): unknown {
  switch (field.kind) {
    case 'bool':
    case 'int32':
    case 'uint32':
    case 'string':
      return value;
    case 'enum':
      return field.values?.[value as number] ?? value;
    case 'int64':
    case 'uint64':
    case 'watchId':
    case 'lease':
    case 'id':
      return String(value);
    case 'bytes':
      return Buffer.from(value as string, 'latin1').toString('base64');
    case 'message':
      return toValue(field.message!(), value as Loose);
    default:
      return unreachable(field.kind);
  }
}

/**
 * The message that a JSON text holds; an empty text is an empty message.
 *
 * @throws `ERR_INVALID_ARGUMENT` where the text is no JSON or does not fit the message.
 */
export function fromJson<T extends object>(type: MessageType<T>, text: string): T {
  if (text.trim() === '') return type.create();
  let value: unknown;
  try {
    value = JSON.parse(text, exactNumbers);
  } catch (error) {
    throw invalid(`the body is no JSON: ${(error as Error).message}`);
  }
  return fromValue(type as unknown as AnyMessageType, value, type.name, 0) as T;
}

/** 64-bit numbers may be written as JSON numbers; those that a double cannot hold stay text. */
function exactNumbers(_key: string, value: unknown, context?: { source?: string }): unknown {
  if (typeof value !== 'number' || Number.isSafeInteger(value)) return value;
  return context?.source ?? value;
}

function fromValue(type: AnyMessageType, value: unknown, path: string, depth: number): object {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw invalid(`${path} must be an object`);
  }
  if (depth > MAX_DEPTH) throw invalid(`${path} is nested too deeply`);
  const names = fieldsByName(type);
  const message = type.create() as Loose;
  for (const [name, member] of Object.entries(value)) {
    const field = names.get(name);
    if (field === undefined || member === null) continue;
    if (!field.repeated) {
      message[field.name] = scalarFromJson(field, member, depth);
      continue;
    }
    if (!Array.isArray(member)) throw invalid(`${name} must be an array`);
    message[field.name] = member.map((one) => scalarFromJson(field, one, depth));
  }
  return message;
}

const namesByType = new Map<AnyMessageType, Map<string, Field>>();

function fieldsByName(type: AnyMessageType): Map<string, Field> {
  let names = namesByType.get(type);
  if (names !== undefined) return names;
  names = new Map();
  for (const field of type.fields) {
    names.set(field.protoName, field);
    names.set(lowerCamel(field.protoName), field);
  }
  namesByType.set(type, names);
  return names;
}

function lowerCamel(protoName: string): string {
  return protoName.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}

function scalarFromJson(field: Field, value: unknown, depth: number): unknown {
  switch (field.kind) {
    case 'bool':
      if (typeof value === 'boolean') return value;
      break;
    case 'string':
      if (typeof value === 'string') return value;
      break;
    case 'bytes':
      return bytesFromJson(field, value);
    case 'enum':
      return enumFromJson(field, value);
    case 'int32':
    case 'uint32':
    case 'int64':
    case 'uint64':
    case 'watchId': {
      const number = Number(integerFromJson(field, value));
      if (Number.isSafeInteger(number)) return number;
      break;
    }
    case 'lease':
    case 'id':
      return integerFromJson(field, value);
    case 'message':
      return fromValue(field.message!(), value, field.protoName, depth + 1);
    default:
      return unreachable(field.kind);
  }
  throw invalidValue(field, value);
}

const MIN_INT64 = -(2n ** 63n);
const MAX_INT64 = 2n ** 63n - 1n;
const MAX_UINT64 = 2n ** 64n - 1n;

function integerFromJson(field: Field, value: unknown): bigint {
  const text = typeof value === 'number' ? String(value) : value;
  if (typeof text !== 'string' || !/^-?\d{1,20}$/.test(text)) throw invalidValue(field, value);
  const integer = BigInt(text);
  const unsigned = field.kind === 'id' || field.kind === 'uint64' || field.kind === 'uint32';
  if (integer < (unsigned ? 0n : MIN_INT64) || integer > (unsigned ? MAX_UINT64 : MAX_INT64)) {
    throw invalidValue(field, value);
  }
  return integer;
}

/** Standard or URL-safe base64, with or without padding. */
function bytesFromJson(field: Field, value: unknown): string {
  if (typeof value !== 'string' || !/^[A-Za-z0-9+/_-]*={0,2}$/.test(value)) {
    throw invalidValue(field, value);
  }
  return Buffer.from(value, 'base64').latin1Slice();
}

function enumFromJson(field: Field, value: unknown): number {
  if (typeof value === 'number' && Number.isSafeInteger(value)) return value;
  const index = typeof value === 'string' ? (field.values?.indexOf(value) ?? -1) : -1;
  if (index < 0) throw invalidValue(field, value);
  return index;
}

function invalidValue(field: Field, value: unknown): QuorateError {
  const shown = JSON.stringify(value) ?? 'nothing';
  const text = shown.length > 100 ? `${shown.slice(0, 100)}...` : shown;
  return invalid(`invalid value for ${field.kind} field ${field.protoName}: ${text}`);
}
