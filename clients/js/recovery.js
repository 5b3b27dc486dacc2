// Brings pusher-js and laravel-echo back to where they were after a reconnect: nothing missed, nothing twice, in order.

/** Frames to the gateway are limited to 16 KB; many channels' tokens go in several. */
const FRAME_BYTES = 8192

/** More events than a gateway writes between two positions; only a bound, so that nothing grows for ever. */
const REMEMBERED = 4096

/**
 * Makes a client ask the gateway for what it missed, whenever its connection comes back.
 *
 * Call it once, right after the client was made:
 *
 *     recover(window.Echo, { onRecovered: (channel, recovered) => { if (!recovered) reload(channel) } })
 *
 * @param client  a Pusher of pusher-js 8, or an Echo of laravel-echo 2
 * @param options onRecovered(channel, recovered): called for each channel after a reconnect; false where too much time or
 *                too many events have passed: load the state anew
 * @returns a function that ends it
 */
export function recover(client, { onRecovered = () => {} } = {}) {
  const pusher = client?.connector?.pusher ?? client
  const connection = pusher?.connection
  if (typeof connection?.send_event !== 'function') {
    throw new TypeError('recover() takes a Pusher of pusher-js, or an Echo whose broadcaster is reverb or pusher.')
  }

  /** channel → the gateway's token for the position after the last event that it has written to us */
  const tokens = new Map()
  /** channel → what came after that token. Where a connection breaks in between, the replay brings it again. */
  const seen = new Map()
  /** channel → what a replay may bring although it was here before the connection broke */
  const expected = new Map()

  function resume() {
    for (const channel of tokens.keys()) {
      // A user's own channel is in no list of pusher-js; it comes back with the sign-in.
      if (channel[0] !== '#' && !pusher.channel(channel)) forget(channel)
    }
    for (const [channel, events] of seen) {
      expected.set(channel, [...(expected.get(channel) ?? []), ...events])
    }
    seen.clear()

    let frame = {}
    let size = 0
    for (const [channel, token] of tokens) {
      size += channel.length + token.length + 8
      if (size > FRAME_BYTES) {
        connection.send_event('realtime:resume', frame)
        frame = {}
        size = channel.length + token.length + 8
      }
      frame[channel] = token
    }
    // Also with nothing in it: that is how a client asks for positions.
    connection.send_event('realtime:resume', frame)
  }

  function forget(channel) {
    tokens.delete(channel)
    seen.delete(channel)
    expected.delete(channel)
  }

  /** True where the client has had this very event, and the replay brings it once more. */
  function again({ event, channel, data }) {
    if (!tokens.has(channel) || /^(pusher|pusher_internal|realtime):|^client-/.test(event)) return false

    const text = event + '\n' + JSON.stringify(data)
    const list = seen.get(channel) ?? []
    if (list.length < REMEMBERED) list.push(text)
    seen.set(channel, list)

    const at = expected.get(channel)?.indexOf(text) ?? -1
    if (at >= 0) expected.get(channel).splice(at, 1)
    return at >= 0
  }

  function position(data) {
    for (const [channel, token] of Object.entries(data ?? {})) {
      if (typeof token !== 'string') continue
      tokens.set(channel, token)
      seen.delete(channel)
    }
  }

  function recovered(channel, yes) {
    expected.delete(channel)
    onRecovered(channel, yes)
  }

  // Every frame of the gateway passes here on its way to the channels. Binding to 'message' would be too late to leave
  // one out: pusher-js has bound first.
  const emit = connection.emit
  connection.emit = function (name, message, ...rest) {
    if (name === 'message' && message) {
      if (message.event === 'realtime:position' && !message.channel) position(message.data)
      else if (message.channel && again(message)) return this
    }
    const result = emit.call(this, name, message, ...rest)
    if (name === 'message' && message?.event === 'realtime:recovered' && message.channel) {
      recovered(message.channel, message.data?.recovered === true)
    }
    return result
  }

  // Fires before 'connected', on which pusher-js subscribes again: the gateway has the tokens before the first subscribe.
  const onState = ({ current }) => { if (current === 'connected') resume() }
  connection.bind('state_change', onState)
  if (connection.state === 'connected') resume()

  return () => {
    connection.emit = emit
    connection.unbind('state_change', onState)
  }
}
