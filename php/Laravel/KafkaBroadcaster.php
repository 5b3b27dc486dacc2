<?php

/**
 * Laravel's broadcast driver "kafka".
 */

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

/**
 * Publishes channel names as Laravel gives them (`private-user.1`) and signs what Echo asks permission for.
 *
 * broadcast() returns as soon as the message is queued in memory; in a queue job it waits until Kafka has it, and
 * throws, so that Laravel tries the job again. It throws BroadcastException only.
 */
final class KafkaBroadcaster extends Broadcaster
{
    private const SOCKET_ID = '/\A\d+\.\d+\z/';

    /** @var Closure|null set by Broadcast::resolveAuthenticatedUserUsing(), also where Laravel has none yet (8) */
    protected $authenticatedUserCallback = null;

    public function __construct(private Connection $connection, private CurrentJob $job)
    {
    }

    /**
     * @param array<mixed> $channels names, or channel objects
     * @param string $event
     * @param array<mixed> $payload
     *
     * @throws BroadcastException it was not sent, or in a queue job not acknowledged
     */
    public function broadcast(array $channels, $event, array $payload = [])
    {
        $socket = $payload['socket'] ?? null;
        unset($payload['socket']);
        // It comes from a request header: nonsense in it leaves nobody out, and must not keep the event from others.
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
     * Answers `/broadcasting/auth`.
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
        if (!is_string($channel) || !ChannelName::requiresAuthorization($channel)) {
            throw new AccessDeniedHttpException();
        }
        $name = ChannelName::withoutPrefix($channel);
        if ($name === '' || !$this->retrieveUser($request, $name)) {
            throw new AccessDeniedHttpException();
        }

        return $this->verifyUserCanAccessChannel($request, $name);
    }

    /**
     * The signature for a channel that routes/channels.php has allowed.
     *
     * @param Request $request
     * @param mixed $result what the callback of the channel returned
     *
     * @return array<string, string>
     *
     * @throws AccessDeniedHttpException a socket id or channel name that cannot be: nothing is signed
     */
    public function validAuthenticationResponse($request, $result)
    {
        $channel = (string) $request->input('channel_name');
        $member = null;
        if (ChannelName::isPresence($channel)) {
            $user = $this->retrieveUser($request, ChannelName::withoutPrefix($channel));
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
     * Answers `/broadcasting/user-auth`: the signed user, or null where nobody is signed in.
     *
     * @param Request $request
     *
     * @return array<string, string>|null
     *
     * @throws AccessDeniedHttpException a socket id that cannot be: nothing is signed
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
     * Says who the user of a request is, for `/broadcasting/user-auth`.
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
     * @return list<string> the ids of the messages
     */
    private function send(array $channels, string $event, array $payload, ?string $except): array
    {
        $public = $private = [];
        foreach ($channels as $channel) {
            ChannelName::isPublic($channel) ? $public[] = $channel : $private[] = $channel;
        }
        $trace = $this->job->trace();
        $ids = $private === [] ? [] : $this->connection->send($private, $event, $payload, $trace, $except);
        if ($public !== []) {
            // A plain Channel is public by Laravel's convention; the gateway asks for the mark.
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
}
