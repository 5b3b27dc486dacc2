<?php

declare(strict_types=1);

namespace Toporia\Realtime\Webhooks;

use Toporia\Realtime\Broker;
use Toporia\Realtime\Exception\PermanentException;
use Toporia\Realtime\Message;
use Toporia\Realtime\Worker\Reporter;
use Toporia\Realtime\Worker\StopConditions;
use Toporia\Realtime\Worker\Text;

/**
 * Reads the webhook topic of the gateways and posts its events: at least once, in order, with retries. The senders of
 * an application are one consumer group and the topic has one partition: one of them posts, and another takes over if
 * it stops. Events are acknowledged after every URL has accepted them, or after the retries ended: then they are
 * dead-lettered.
 */
final class WebhookSender
{
    /** Maximum events in one request. */
    private const BATCH = 50;
    private const POLL_MS = 500;
    /** Pauses between two attempts, in seconds. */
    private const FIRST_PAUSE = 0.5;
    private const LONGEST_PAUSE = 30.0;

    private int $sent = 0;
    private int $failed = 0;

    /**
     * @param list<Endpoint> $endpoints
     * @param int $retrySeconds how long a request is retried
     */
    public function __construct(
        private Broker $broker,
        private string $topic,
        private array $endpoints,
        private int $retrySeconds,
        private StopConditions $stop,
        private Reporter $reporter
    ) {
    }

    /** Runs until a stop condition is reached; returns the exit code. */
    public function run(): int
    {
        $start = microtime(true);
        $this->broker->subscribeTopic($this->topic);
        $this->reporter->event(
            'webhooks',
            "webhooks of topic \"$this->topic\" are sent to " . implode(', ', $this->urls()),
            ['topic' => $this->topic, 'urls' => $this->urls()]
        );
        while ($this->stop->reason() === null) {
            $batch = $this->fetch();
            if ($batch !== [] && !$this->deliver($batch)) {
                break;
            }
        }
        $this->broker->close();
        $reason = (string) $this->stop->met();
        $this->reporter->event(
            'summary',
            Reporter::stopped($reason) . ": $this->sent sent, $this->failed failed.",
            [
                'reason' => $reason, 'sent' => $this->sent, 'failed' => $this->failed,
                'seconds' => round(microtime(true) - $start, 3),
            ]
        );

        return 0;
    }

    /** @return list<Message> */
    private function fetch(): array
    {
        $batch = [];
        $message = $this->broker->poll(self::POLL_MS);
        while ($message !== null) {
            $batch[] = $message;
            $message = count($batch) < self::BATCH ? $this->broker->poll(0) : null;
        }

        return $batch;
    }

    /**
     * Posts a batch to every URL; false if it must stop before that.
     *
     * @param list<Message> $batch
     */
    private function deliver(array $batch): bool
    {
        $events = array_values(array_filter(array_map(self::event(...), $batch)));
        $why = null;
        if ($events !== []) {
            $body = Text::json(['time_ms' => (int) (microtime(true) * 1000), 'events' => $events]);
            $why = $this->post($body, count($events));
        }
        if ($why === false) {
            return false;
        }
        foreach ($batch as $message) {
            $why === null
                ? $this->broker->ack($message)
                : $this->broker->nack($message, new PermanentException("The webhook was not accepted: $why"));
        }

        return true;
    }

    /**
     * @return string|false|null null: accepted by every URL; false: stopped while retrying; otherwise the last failure
     */
    private function post(string $body, int $count): string|false|null
    {
        $until = microtime(true) + $this->retrySeconds;
        $pause = self::FIRST_PAUSE;
        $pending = $this->endpoints;
        while (true) {
            $why = null;
            foreach ($pending as $key => $endpoint) {
                $failure = $endpoint->post($body);
                if ($failure === null) {
                    unset($pending[$key]);
                } else {
                    $why = "$endpoint->url: $failure";
                }
            }
            if ($why === null) {
                $this->sent += $count;

                return null;
            }
            if (microtime(true) + $pause > $until) {
                $this->failed += $count;
                $this->reporter->event(
                    'webhook_failed',
                    "$count webhook(s) were not accepted within $this->retrySeconds s and are dead-lettered. $why",
                    ['events' => $count, 'reason' => $why]
                );

                return $why;
            }
            $this->reporter->event(
                'webhook_retry',
                "$count webhook(s) are sent again in $pause s. $why",
                ['events' => $count, 'reason' => $why, 'seconds' => $pause]
            );
            if (!$this->stop->pause($pause)) {
                return false;
            }
            $pause = min($pause * 2, self::LONGEST_PAUSE);
        }
    }

    /**
     * The event as Pusher sends it; null for a record that is none.
     *
     * @return array<string, mixed>|null
     */
    private static function event(Message $message): ?array
    {
        $envelope = json_decode((string) $message->getPayload(), true);
        $isText = static fn (string $key): bool => is_string($envelope[$key] ?? null);
        if (!is_array($envelope) || !$isText('event') || !$isText('channel')) {
            return null;
        }
        $more = is_array($envelope['data'] ?? null) ? $envelope['data'] : [];

        return ['name' => $envelope['event'], 'channel' => $envelope['channel']] + $more;
    }

    /** @return list<string> */
    private function urls(): array
    {
        return array_map(static fn (Endpoint $endpoint): string => $endpoint->url, $this->endpoints);
    }
}
