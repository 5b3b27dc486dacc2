// Types of recovery.js.

/** What recover() needs of a Pusher (pusher-js 8). */
export interface PusherLike {
  connection: {
    state: string;
    bind(event: string, callback: Function): unknown;
    unbind(event?: string, callback?: Function): unknown;
    emit(event: string, data?: any, metadata?: any): any;
    send_event(name: string, data: any, channel?: string): boolean;
  };
  channel(name: string): unknown;
}

/** What recover() needs of an Echo (laravel-echo 2, broadcaster `reverb` or `pusher`). */
export interface EchoLike {
  connector: { pusher: PusherLike };
}

export interface RecoverOptions {
  /**
   * Called for each channel after a reconnect, when everything that was missed has been delivered.
   * `recovered` is false where the gateway could not: load the channel's state anew.
   */
  onRecovered?: (channel: string, recovered: boolean) => void;
}

/**
 * Makes a client ask the gateway for what it missed, whenever its connection comes back.
 * Call it once, right after the client was made. Client events are not recovered.
 *
 * @returns a function that ends it
 */
export function recover(client: PusherLike | EchoLike, options?: RecoverOptions): () => void;
