<?php

declare(strict_types=1);

namespace Toporia\Realtime\Laravel;

use Closure;
use Illuminate\Broadcasting\Broadcasters\Broadcaster;
use Illuminate\Broadcasting\BroadcastException;
use Illuminate\Http\Request;
use Symfony\Component\HttpKernel\Exception\AccessDeniedHttpException;
use Throwable;
use Toporia\Realtime\Exception\InvalidChannelException;
use Toporia\Realtime\Gateway;
use Toporia\Realtime\Laravel\Queue\CurrentJob;
use Toporia\Realtime\Support\Channel;

/**
 * Laravel's broadcast driver "kafka". Publishes channel names as Laravel passes them (`private-user.1`) and signs
 * Echo's authorization requests.
 *
 * broadcast() returns once the message is queued in memory; in a queue job it waits for Kafka's acknowledgement and
 * throws if there is none, so that Laravel retries the job. It only throws BroadcastException.
 */
final class KafkaBroadcaster extends Broadcaster
{
    /** Longer prefixes first. */
    private const PREFIXES = [
        'private-encrypted-cache-', 'private-encrypted-', 'private-cache-', 'private-', 'presence-cache-', 'presence-',
    ];
    private const SOCKET_ID = '/\A\d+\.\d+\z/';

    /** @var Closure|null set by Broadcast::resolveAuthenticatedUserUsing(); Laravel 8 does not have it yet */
    protected $authenticatedUserCallback = null;

    public function __construct(private Connection $connection, private CurrentJob $job)
    {
    }

    /**
     * @param array<mixed> $channels channel names or objects
     * @param string $event
     * @param array<mixed> $payload
     *
     * @throws BroadcastException it was not sent, or in a queue job not acknowledged
     */
    public function broadcast(array $channels, $event, array $payload = [])
    {
        $socket = $payload['socket'] ?? null;
        unset($payload['socket']);
        // The socket id comes from a request header: an invalid one excludes no client and must not stop the broadcast.
        $except = is_string($socket) && preg_match(self::SOCKET_ID, $socket) === 1 ? $socket : null;
        try {
            $ids = $this->send($this->formatChannels($channels), (string) $event, $payload, $except);
            if ($ids !== [] && $this->job->isRunning()) {
                $this->connection->confirm($ids);
            }
        } catch (BroadcastException $e) {
            throw $e;
        } catch (Throwable $e) {
            throw new BroadcastException("Kafka: {$e->getMessage()}", 0, $e);
        }
    }

    /**
     * Handles `/broadcasting/auth`.
     *
     * @param Request $request
     *
     * @return array<string, string>
     *
     * @throws AccessDeniedHttpException
     */
    public function auth($request)
    {
        $channel = $request->input('channel_name');
        if (!is_string($channel) || !self::isGuarded($channel)) {
            throw new AccessDeniedHttpException();
        }
        $name = self::withoutPrefix($channel);
        if ($name === '' || !$this->retrieveUser($request, $name)) {
            throw new AccessDeniedHttpException();
        }

        return $this->verifyUserCanAccessChannel($request, $name);
    }

    /**
     * Signs a channel that routes/channels.php has authorized.
     *
     * @param Request $request
     * @param mixed $result the return value of the channel's callback
     *
     * @return array<string, string>
     *
     * @throws AccessDeniedHttpException an invalid socket id or channel name: nothing is signed
     */
    public function validAuthenticationResponse($request, $result)
    {
        $channel = (string) $request->input('channel_name');
        $member = null;
        if (str_starts_with($channel, 'presence-')) {
            $user = $this->retrieveUser($request, self::withoutPrefix($channel));
            $id = method_exists($user, 'getAuthIdentifierForBroadcasting')
                ? $user->getAuthIdentifierForBroadcasting()
                : $user->getAuthIdentifier();
            $member = ['user_id' => (string) $id, 'user_info' => is_array($result) ? $result : null];
        }
        try {
            return Gateway::authorize($this->socketId($request), $channel, $member, $this->connection->gateway());
        } catch (InvalidChannelException $e) {
            throw new AccessDeniedHttpException($e->getMessage(), $e);
        }
    }

    /**
     * Handles `/broadcasting/user-auth`: returns the signed user, or null if no user is signed in.
     *
     * @param Request $request
     *
     * @return array<string, string>|null
     *
     * @throws AccessDeniedHttpException an invalid socket id: nothing is signed
     */
    public function resolveAuthenticatedUser($request)
    {
        $user = $this->authenticatedUserCallback === null ? null : ($this->authenticatedUserCallback)($request);
        if (!is_array($user) || $user === []) {
            return null;
        }
        if (is_int($user['id'] ?? null)) {
            $user['id'] = (string) $user['id'];
        }
        try {
            return Gateway::authenticate($this->socketId($request), $user, $this->connection->gateway());
        } catch (InvalidChannelException $e) {
            throw new AccessDeniedHttpException($e->getMessage(), $e);
        }
    }

    /**
     * Sets the callback that resolves the user for `/broadcasting/user-auth`.
     *
     * @param Closure(Request): (array<string, mixed>|null) $callback
     */
    public function resolveAuthenticatedUserUsing(Closure $callback)
    {
        $this->authenticatedUserCallback = $callback;
    }

    /**
     * @param list<string> $channels
     * @param array<mixed> $payload
     *
     * @return list<string> the message ids
     */
    private function send(array $channels, string $event, array $payload, ?string $except): array
    {
        $public = $private = [];
        foreach ($channels as $channel) {
            !self::isGuarded($channel) && !str_starts_with($channel, '#') ? $public[] = $channel : $private[] = $channel;
        }
        // Two calls: a channel that the second one refuses must not leave the event sent by halves.
        array_map(Channel::check(...), $private === [] ? [] : $public);
        $trace = $this->job->trace();
        $ids = $private === [] ? [] : $this->connection->send($private, $event, $payload, $trace, $except);
        if ($public !== []) {
            // A plain Channel is public by Laravel's convention; the gateway requires the header.
            $mark = ['x-realtime-public' => '1'] + $trace;
            array_push($ids, ...$this->connection->send($public, $event, $payload, $mark, $except));
        }

        return $ids;
    }

    private function socketId(Request $request): string
    {
        $id = $request->input('socket_id');

        return is_string($id) ? $id : '';
    }

    /**
     * True for private and presence channels. Others are public by Laravel's convention, except internal ones (`#…`).
     */
    private static function isGuarded(string $channel): bool
    {
        return str_starts_with($channel, 'private-') || str_starts_with($channel, 'presence-');
    }

    /** The name passed to routes/channels.php: one authorization covers every prefix. */
    private static function withoutPrefix(string $channel): string
    {
        foreach (self::PREFIXES as $prefix) {
            if (str_starts_with($channel, $prefix)) {
                return substr($channel, strlen($prefix));
            }
        }

        return $channel;
    }
}
