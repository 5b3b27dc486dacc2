// Replays missed events in pusher-js and laravel-echo after a reconnect: none lost, no duplicates, in order.

/** The gateway limits frames to 16 KB, so the tokens of many channels are sent in several frames. */
const FRAME_BYTES = 8192

/** Maximum events kept per channel, to bound memory; more than a gateway sends between two positions. */
const REMEMBERED = 4096

/**
 * Requests missed events from the gateway after every reconnect.
 *
 * Call it once, right after creating the client:
 *
 *     recover(window.Echo, { onRecovered: (channel, recovered) => { if (!recovered) reload(channel) } })
 *
 * @param client  a Pusher of pusher-js 8, or an Echo of laravel-echo 2
 * @param options onRecovered(channel, recovered): called for each channel after a reconnect; false if the client was
 *                offline for too long or missed too many events: reload the state
 * @returns a function that removes the plugin
 */
export function recover(client, { onRecovered = () => {} } = {}) {
  const pusher = client?.connector?.pusher ?? client
  const connection = pusher?.connection
  if (typeof connection?.send_event !== 'function') {
    throw new TypeError('recover() takes a Pusher of pusher-js, or an Echo whose broadcaster is reverb or pusher.')
  }

  /** channel → the gateway's token for the position after the last event it has sent */
  const tokens = new Map()
  /** channel → events received after that token; if the connection breaks now, the replay contains them again */
  const seen = new Map()
  /** channel → events the replay may repeat because they were received before the connection broke */
  const expected = new Map()

  function resume() {
    for (const channel of tokens.keys()) {
      // pusher-js does not list the channel of a signed-in user; signing in subscribes to it again.
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
    // Sent even if empty: the frame makes the gateway send positions.
    connection.send_event('realtime:resume', frame)
  }

  function forget(channel) {
    tokens.delete(channel)
    seen.delete(channel)
    expected.delete(channel)
  }

  /** True if the client has received this event before, so that the replay repeats it. */
  function isDuplicate({ event, channel, data }) {
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

  function recovered(channel, complete) {
    expected.delete(channel)
    onRecovered(channel, complete)
  }

  // Every frame of the gateway passes through emit() before it reaches the channels. A listener bound to 'message' could
  // not drop duplicates, because pusher-js has bound its own listener first.
  const emit = connection.emit
  connection.emit = function (name, message, ...rest) {
    if (name === 'message' && message) {
      if (message.event === 'realtime:position' && !message.channel) position(message.data)
      else if (message.channel && isDuplicate(message)) return this
    }
    const result = emit.call(this, name, message, ...rest)
    if (name === 'message' && message?.event === 'realtime:recovered' && message.channel) {
      recovered(message.channel, message.data?.recovered === true)
    }
    return result
  }

  // Fires before 'connected', on which pusher-js resubscribes: the tokens are sent before the first subscribe.
  const onState = ({ current }) => { if (current === 'connected') resume() }
  connection.bind('state_change', onState)
  if (connection.state === 'connected') resume()

  return () => {
    connection.emit = emit
    connection.unbind('state_change', onState)
  }
}
