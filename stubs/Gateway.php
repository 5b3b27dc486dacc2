<?php

/**
 * IDE stub of the native Gateway class, and its stand-in where the extension is not loaded.
 */

declare(strict_types=1);

namespace Toporia\Realtime;

use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Exception\ConnectionException;
use Toporia\Realtime\Exception\EncodingException;
use Toporia\Realtime\Exception\ExtensionMissingException;
use Toporia\Realtime\Exception\InvalidChannelException;

/**
 * The WebSocket gateway: what was broadcast through Kafka goes on to browsers, over Pusher's protocol 7, which pusher-js
 * and laravel-echo speak unmodified.
 *
 *     $gateway = (new Gateway(['port' => 6001]))->start();
 *     while (!$gateway->wait()) {
 *         echo count($gateway->connections()), " sockets\n";
 *     }
 *     $gateway->stop();
 *
 * It runs on native threads: a PHP callback that takes its time delays no socket. It ends with the process, also after a
 * fatal error. A forked child must not use it: there every method throws ConnectionException, and the parent's goes on.
 *
 * An object that was not started asks the gateway that runs elsewhere, through its HTTP API: connections(), kick() and
 * unsubscribe() work from a controller.
 *
 *     (new Gateway())->kick(['user' => '7']);      // closes every socket user 7 has, on all gateways
 */
final class Gateway
{
    /**
     * Reads the configuration; opens and connects nothing yet.
     *
     * @param array<string, mixed> $config settings of `realtime.gateway`, over those of Realtime::configure() and of the
     *     environment; `broker` is the name of a broker in the configuration, or an array of settings of one
     *
     * @throws ConfigurationException an unknown setting (the nearest known one is named), a wrong value
     * @throws ExtensionMissingException without the extension
     */
    public function __construct(array $config = [])
    {
        throw Support\ExtensionMissing::exception('The gateway');
    }

    /**
     * Opens the port, connects to Kafka, and serves until stop() or the end of the process.
     *
     * Harmless when it runs already. Kafka may be away: it is tried again, and `/ready` says so meanwhile.
     *
     * @throws ConfigurationException no app id, key or secret; a secret that is too short or well known
     * @throws ConnectionException the port is in use, or the address is not ours
     */
    public function start(): static
    {
        throw Support\ExtensionMissing::exception('Gateway::start()');
    }

    /**
     * Tells its clients to come back elsewhere, spread over the time, and ends. Harmless when it is stopped already.
     *
     * @param int $drainMs how long it takes its time, in ms; 0: at once
     *
     * @throws ConfigurationException a negative time
     */
    public function stop(int $drainMs = 5000): void
    {
        throw Support\ExtensionMissing::exception('Gateway::stop()');
    }

    /**
     * Waits for SIGTERM or SIGINT, and hands what the gateway has to say to PHP's error log meanwhile.
     *
     * Handlers of PHP (pcntl_signal()) run in here, and signals that have one do not end the wait.
     *
     * @param int $timeoutMs the longest wait, in ms
     *
     * @return bool true once a signal asked to end, or where the gateway does not run; false after the time
     */
    public function wait(int $timeoutMs = 1000): bool
    {
        throw Support\ExtensionMissing::exception('Gateway::wait()');
    }

    /**
     * True if it was started by this object and serves.
     */
    public function isRunning(): bool
    {
        return false;
    }

    /**
     * Where it listens, with the port it really has: `127.0.0.1:6001`. Before start(), where it would.
     */
    public function address(): string
    {
        throw Support\ExtensionMissing::exception('Gateway::address()');
    }

    /**
     * Delivers an event to the sockets of this gateway only, without Kafka; nothing of it can be recovered.
     *
     * @param string $channel the channel's name without a prefix, as in Realtime::broadcast(), or a guarded one
     * @param mixed $data what json_encode() takes
     * @param string|null $except socket id to leave out
     *
     * @return int sockets it reached
     *
     * @throws ConnectionException it does not run
     * @throws EncodingException the data is no JSON; nothing was sent
     * @throws InvalidChannelException a name that cannot be one
     */
    public function broadcastLocally(string $channel, string $event, mixed $data = null, ?string $except = null): int
    {
        throw Support\ExtensionMissing::exception('Gateway::broadcastLocally()');
    }

    /**
     * Who is connected, over all gateways.
     *
     * @param array{user?: string|int, socket?: string, channel?: string} $where only these; every condition has to hold
     *
     * @return list<array{socket_id: string, user: string|null, channels: list<string>, address: string, node: string,
     *     seconds: int, queued: int}> `seconds` since it was opened, `queued` bytes waiting for it
     *
     * @throws ConfigurationException a condition that is none
     *
     * @throws ConnectionException no gateway answers
     */
    public function connections(array $where = []): array
    {
        throw Support\ExtensionMissing::exception('Gateway::connections()');
    }

    /**
     * Counters and state of this gateway, since it started.
     *
     * @return array<string, mixed> `running`, `address`, `ready`, `not_ready` (why), `node`, `connections`, `channels`,
     *     `broadcasts`, `frames_sent`, `bytes_sent`, `topic_mismatch`, … as `/metrics` has them
     */
    public function stats(): array
    {
        throw Support\ExtensionMissing::exception('Gateway::stats()');
    }

    /**
     * Closes sockets for good (4009: their clients do not come back by themselves), on all gateways.
     *
     * @param array{user?: string|int, socket?: string, channel?: string} $where one of them, or several, which all have to hold
     *
     * @return int sockets closed
     *
     * @throws ConfigurationException $where has none of them, or something else
     * @throws ConnectionException no gateway answers
     */
    public function kick(array $where): int
    {
        throw Support\ExtensionMissing::exception('Gateway::kick()');
    }

    /**
     * Takes sockets off a channel, on all gateways: they get a subscription_error with status 401.
     *
     * @param array{user?: string|int, socket?: string, channel?: string} $where one of them, or several, which all have to hold
     * @param string $channel the channel they leave, as their clients call it: `private-order.7`
     *
     * @return int sockets taken off
     *
     * @throws ConfigurationException $where has none of them, or something else
     * @throws InvalidChannelException a name that cannot be one
     * @throws ConnectionException no gateway answers
     */
    public function unsubscribe(array $where, string $channel): int
    {
        throw Support\ExtensionMissing::exception('Gateway::unsubscribe()');
    }

    /**
     * Signs a subscription: what the endpoint /broadcasting/auth answers with, once the application has said yes.
     *
     *     echo json_encode(Gateway::authorize($_POST['socket_id'], $_POST['channel_name'], ['user_id' => $user->id]));
     *
     * Strict: anything but a socket id and the valid name of a private, presence or encrypted channel is refused
     * unsigned, so that nobody can have something else signed.
     *
     * @param array{user_id: string|int, user_info?: mixed}|null $presence who joins; for a presence channel, and for no other
     * @param array<string, mixed> $config over the settings of the gateway
     *
     * @return array{auth: string, channel_data?: string, shared_secret?: string}
     *
     * @throws InvalidChannelException no socket id, or no such channel
     * @throws EncodingException user_info is no JSON or over 1 KB; a user_id that is empty or over 128 characters
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
     * Signs a user in: what the endpoint /broadcasting/user-auth answers with.
     *
     * @param array{id: string|int, user_info?: mixed, watchlist?: mixed} $userData `id` must not be empty
     * @param array<string, mixed> $config over the settings of the gateway
     *
     * @return array{auth: string, user_data: string}
     *
     * @throws InvalidChannelException no socket id
     * @throws EncodingException no id, or the data is no JSON
     * @throws ConfigurationException no key or secret
     */
    public static function authenticate(string $socketId, array $userData, array $config = []): array
    {
        throw Support\ExtensionMissing::exception('Gateway::authenticate()');
    }
}
