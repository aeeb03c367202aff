/** What a rank shows to others, and whom it trusts: PEM texts. Both sides of every connection show a certificate. */
export interface TlsFiles {
  readonly key: string;
  readonly cert: string;
  readonly ca: string;
  /** The name that every rank's certificate is made out to; default: the host it is reached at. */
  readonly servername?: string;
}
