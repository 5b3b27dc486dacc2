<?php

declare(strict_types=1);

namespace Toporia\Realtime;

use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Exception\ConnectionException;
use Toporia\Realtime\Exception\EncodingException;
use Toporia\Realtime\Exception\ExtensionMissingException;
use Toporia\Realtime\Exception\InvalidChannelException;

/**
 * The WebSocket gateway: forwards broadcasts from Kafka to browsers, over Pusher protocol 7, which pusher-js and
 * laravel-echo support without changes.
 *
 *     $gateway = (new Gateway(['port' => 6001]))->start();
 *     while (!$gateway->wait()) {
 *         echo count($gateway->connections()), " sockets\n";
 *     }
 *     $gateway->stop();
 *
 * It runs on native threads: a slow PHP callback delays no socket. It ends with the process, also after a fatal error.
 * A forked child cannot use it: every method throws ConnectionException there, and the parent's gateway keeps running.
 *
 * An object that was not started calls the HTTP API of the running gateway: connections(), kick() and unsubscribe() can
 * be used in a controller.
 *
 *     (new Gateway())->kick(['user' => '7']);      // closes every socket user 7 has, on all gateways
 */
final class Gateway
{
    /**
     * Reads the configuration; opens no port and does not connect.
     *
     * @param array<string, mixed> $config settings of `realtime.gateway`; they override Realtime::configure() and the
     *     environment. `broker` is the name of a configured broker, or an array of settings
     *
     * @throws ConfigurationException an unknown setting (the message suggests the most similar one) or a wrong value
     * @throws ExtensionMissingException without the extension
     */
    public function __construct(array $config = [])
    {
        throw Support\ExtensionMissing::exception('The gateway');
    }

    /**
     * Opens the port, connects to Kafka, and serves until stop() or the end of the process.
     *
     * Does nothing if it is already running. If Kafka is down, it reconnects, and `/ready` reports it.
     *
     * @throws ConfigurationException no app id, key or secret; a secret that is too short or well known
     * @throws ConnectionException the port is in use, or the address does not belong to this machine
     */
    public function start(): static
    {
        throw Support\ExtensionMissing::exception('Gateway::start()');
    }

    /**
     * Asks the clients to reconnect elsewhere, spread over the drain time, and stops. Does nothing if it is already
     * stopped.
     *
     * @param int $drainMs drain time in ms; 0: stop immediately
     *
     * @throws ConfigurationException a negative time
     */
    public function stop(int $drainMs = 5000): void
    {
        throw Support\ExtensionMissing::exception('Gateway::stop()');
    }

    /**
     * Waits for SIGTERM or SIGINT and writes the messages of the gateway to PHP's error log.
     *
     * PHP's signal handlers (pcntl_signal()) run during the wait, and signals with a handler do not end it.
     *
     * @param int $timeoutMs maximum wait in ms
     *
     * @return bool true after a signal to stop, or if the gateway is not running; false after the timeout
     */
    public function wait(int $timeoutMs = 1000): bool
    {
        throw Support\ExtensionMissing::exception('Gateway::wait()');
    }

    /**
     * Returns true if this object started the gateway and it is serving.
     */
    public function isRunning(): bool
    {
        return false;
    }

    /**
     * Returns the listen address with the actual port: `127.0.0.1:6001`. Before start(), the configured address.
     */
    public function address(): string
    {
        throw Support\ExtensionMissing::exception('Gateway::address()');
    }

    /**
     * Delivers an event to the sockets of this gateway only, without Kafka; clients cannot recover it after a
     * disconnect.
     *
     * @param string $channel channel name without a prefix, as in Realtime::broadcast(), or a private or presence
     *        channel
     * @param mixed $data any value json_encode() supports
     * @param string|null $except socket id to leave out
     *
     * @return int number of sockets reached
     *
     * @throws ConnectionException the gateway is not running
     * @throws EncodingException data that cannot be encoded as JSON; nothing was sent
     * @throws InvalidChannelException invalid channel name
     */
    public function broadcastLocally(string $channel, string $event, mixed $data = null, ?string $except = null): int
    {
        throw Support\ExtensionMissing::exception('Gateway::broadcastLocally()');
    }

    /**
     * Returns the connections of all gateways.
     *
     * @param array{user?: string|int, socket?: string, channel?: string} $where filter; all conditions must match
     *
     * @return list<array{socket_id: string, user: string|null, channels: list<string>, address: string, node: string,
     *     seconds: int, queued: int}> `seconds` since it was opened, `queued` bytes waiting for it
     *
     * @throws ConfigurationException unknown condition
     *
     * @throws ConnectionException no gateway responds
     */
    public function connections(array $where = []): array
    {
        throw Support\ExtensionMissing::exception('Gateway::connections()');
    }

    /**
     * Returns the counters and the state of this gateway since its start.
     *
     * @return array<string, mixed> `running`, `address`, `ready`, `not_ready` (why), `node`, `connections`, `channels`,
     *     `broadcasts`, `frames_sent`, `bytes_sent`, `topic_mismatch`, … as `/metrics` has them
     */
    public function stats(): array
    {
        throw Support\ExtensionMissing::exception('Gateway::stats()');
    }

    /**
     * Closes sockets permanently (4009: clients do not reconnect), on all gateways.
     *
     * @param array{user?: string|int, socket?: string, channel?: string} $where at least one condition; all must match
     *
     * @return int number of closed sockets
     *
     * @throws ConfigurationException no condition in $where, or an unknown one
     * @throws ConnectionException no gateway responds
     */
    public function kick(array $where): int
    {
        throw Support\ExtensionMissing::exception('Gateway::kick()');
    }

    /**
     * Removes sockets from a channel, on all gateways: they receive a subscription_error with status 401.
     *
     * @param array{user?: string|int, socket?: string, channel?: string} $where at least one condition; all must match
     * @param string $channel the channel under the name that clients use: `private-order.7`
     *
     * @return int number of removed subscriptions
     *
     * @throws ConfigurationException no condition in $where, or an unknown one
     * @throws InvalidChannelException invalid channel name
     * @throws ConnectionException no gateway responds
     */
    public function unsubscribe(array $where, string $channel): int
    {
        throw Support\ExtensionMissing::exception('Gateway::unsubscribe()');
    }

    /**
     * Returns the effective settings: Realtime::configure(), environment, defaults. Opens no port.
     *
     * @return array{app_id: string, key: string, secret: string, host: string, port: int, ops_listen: ?string,
     *     allowed_origins: list<string>, trusted_proxies: list<string>, webhook_urls: list<string>,
     *     max_connections: int} empty strings: not set; secret: the one that signs; ops_listen: null if it is off
     *
     * @throws ConfigurationException an unknown setting or a wrong value
     */
    public static function configuration(): array
    {
        throw Support\ExtensionMissing::exception('Gateway::configuration()');
    }

    /**
     * Signs a subscription: the response of the endpoint /broadcasting/auth after the application has authorized it.
     *
     *     echo json_encode(Gateway::authorize($_POST['socket_id'], $_POST['channel_name'], ['user_id' => $user->id]));
     *
     * Strict: only a socket id and the valid name of a private, presence or encrypted channel are signed, so that no
     * other text can be signed.
     *
     * @param array{user_id: string|int, user_info?: mixed}|null $presence the member; only for a presence channel
     * @param array<string, mixed> $config overrides the gateway settings
     *
     * @return array{auth: string, channel_data?: string, shared_secret?: string}
     *
     * @throws InvalidChannelException invalid socket id or channel
     * @throws EncodingException user_info that cannot be encoded or exceeds 1 KB; a user_id that is empty or longer
     *        than 128 characters
     * @throws ConfigurationException no key or secret; an encrypted channel without `encryption_master_key`
     */
    public static function authorize(
        string $socketId,
        string $channelName,
        ?array $presence = null,
        array $config = []
    ): array {
        throw Support\ExtensionMissing::exception('Gateway::authorize()');
    }

    /**
     * Signs a user authentication: the response of the endpoint /broadcasting/user-auth.
     *
     * @param array{id: string|int, user_info?: mixed, watchlist?: mixed} $userData `id` must not be empty
     * @param array<string, mixed> $config overrides the gateway settings
     *
     * @return array{auth: string, user_data: string}
     *
     * @throws InvalidChannelException invalid socket id
     * @throws EncodingException no id, or data that cannot be encoded as JSON
     * @throws ConfigurationException no key or secret
     */
    public static function authenticate(string $socketId, array $userData, array $config = []): array
    {
        throw Support\ExtensionMissing::exception('Gateway::authenticate()');
    }
}
