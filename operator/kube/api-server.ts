// Where an API server is and how to prove who we are; found in the cluster or in a kubeconfig.

/** What a connection and its requests are made with. */
export interface Credentials {
  /** Authorization and others, per request. */
  readonly headers: Readonly<Record<string, string>>;
  readonly ca?: string | Buffer | undefined;
  /** Client certificate and its key, PEM. */
  readonly cert?: string | Buffer | undefined;
  readonly key?: string | Buffer | undefined;
  readonly rejectUnauthorized?: boolean | undefined;
  /** Name expected in the server's certificate, if not that of the URL. */
  readonly servername?: string | undefined;
}

export interface ApiServer {
  readonly url: URL;
  /** Namespace of the service account or of the kubeconfig's context. */
  readonly namespace: string;
  /** Cheap: called before each request. `fresh`: the server refused what was given before. */
  credentials(options?: { fresh: boolean }): Promise<Credentials>;
}

/** No API server could be found, or its configuration can't be used. */
export class AccessError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'AccessError';
  }
}
