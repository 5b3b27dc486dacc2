// Types of recovery.js.

/** The part of a Pusher (pusher-js 8) that recover() uses. */
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

/** The part of an Echo (laravel-echo 2, broadcaster `reverb` or `pusher`) that recover() uses. */
export interface EchoLike {
  connector: { pusher: PusherLike };
}

export interface RecoverOptions {
  /**
   * Called for each channel after a reconnect, when all missed events have been delivered.
   * `recovered` is false if the gateway could not replay all of them: reload the channel's state.
   */
  onRecovered?: (channel: string, recovered: boolean) => void;
}

/**
 * Requests missed events from the gateway after every reconnect.
 * Call it once, right after creating the client. Client events are not recovered.
 *
 * @returns a function that removes the plugin
 */
export function recover(client: PusherLike | EchoLike, options?: RecoverOptions): () => void;
