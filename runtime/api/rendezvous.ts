// The messages of the rendezvous as checked values, and the gRPC service that carries them. Whatever does not fit is refused where it arrives.
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import type { ServiceDefinition } from '@grpc/grpc-js';
import { z } from 'zod';
import { Heartbeat } from './messages.ts';
import { FromAgentSchema, Rendezvous, ToAgentSchema } from './rendezvous.gen.ts';
import type { FromAgent as FromAgentWire, ToAgent as ToAgentWire } from './rendezvous.gen.ts';

/** More ranks than this make no sense with one rendezvous, and bound what a message may hold. */
const maxWorldSize = 1024;
/** A world of 1,024 endpoints of 512 bytes fits. */
export const maxMessageBytes = 1 << 20;

const Epoch = z.int().min(0);
const Secret = z.instanceof(Uint8Array).refine(({ length }) => length === 32, 'must be of 32 bytes');
const clipped = (length: number) => z.string().transform((text) => text.slice(0, length));
const Failure = z.object({
  code: clipped(64),
  message: clipped(2048),
  remedy: clipped(1024),
  step: z.int().min(0).optional(),
});
export type Failure = z.output<typeof Failure>;

const message = <C extends string, S extends z.ZodRawShape>(name: C, shape: S) =>
  z.object({ case: z.literal(name), value: z.object(shape) });

/** What an agent says. `epoch` is that of the rank process spoken of. */
export const FromAgent = z.discriminatedUnion('case', [
  message('hello', { nonce: Secret }),
  message('join', {
    index: z.int().min(0).max(maxWorldSize),
    pod: z.string().max(253),
    attempt: z.int().min(0),
    epoch: z.int().min(-1),
    proof: Secret,
  }),
  message('endpoint', { epoch: Epoch, endpoint: z.string().min(1).max(512) }),
  message('beat', { epoch: Epoch, heartbeat: Heartbeat }),
  message('ended', {
    epoch: Epoch,
    exitCode: z.int().min(0).max(255).optional(),
    signal: z.string().max(16).optional(),
    killed: z.boolean(),
    failure: Failure.optional(),
    logTail: clipped(4096).optional(),
  }),
  message('halted', { epoch: Epoch, step: z.int().min(-1) }),
  message('leaving', {}),
]);
export type FromAgent = z.output<typeof FromAgent>;

/** What the rendezvous says. */
export const ToAgent = z.discriminatedUnion('case', [
  message('challenge', { nonce: Secret, proof: Secret }),
  message('start', { epoch: Epoch, restarts: z.int().min(0) }),
  message('world', {
    epoch: Epoch,
    rank: z.int().min(0),
    endpoints: z.array(z.string().max(512)).min(1).max(maxWorldSize),
    deadlineMs: z.number().positive(),
  }),
  message('kill', { epoch: Epoch }),
  message('halt', { epoch: Epoch }),
  message('stop', { epoch: Epoch, step: z.int().min(-1) }),
  message('end', {
    exitCode: z.int().min(0).max(255),
    restarts: z.int().min(0),
    words: Failure.optional(),
    rule: clipped(63).optional(),
  }),
]);
export type ToAgent = z.output<typeof ToAgent>;

/** For gRPC servers and clients. Deserializing throws a ZodError or what protobuf throws; gRPC ends the stream with it. */
export const rendezvousService = {
  join: {
    path: `/${Rendezvous.typeName}/${Rendezvous.method.join.name}`,
    requestStream: true,
    responseStream: true,
    requestSerialize: (said: FromAgent) => encode(FromAgentSchema, said as FromAgentWire['message']),
    requestDeserialize: (bytes: Buffer) => FromAgent.parse(fromBinary(FromAgentSchema, bytes).message),
    responseSerialize: (said: ToAgent) => encode(ToAgentSchema, said as ToAgentWire['message']),
    responseDeserialize: (bytes: Buffer) => ToAgent.parse(fromBinary(ToAgentSchema, bytes).message),
  },
} satisfies ServiceDefinition;

function encode(schema: typeof FromAgentSchema | typeof ToAgentSchema, said: FromAgentWire['message'] | ToAgentWire['message']) {
  return Buffer.from(toBinary(schema, create(schema, { message: said as never })));
}
