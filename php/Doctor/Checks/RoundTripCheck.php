<?php

/**
 * Does a record go to Kafka and come back? Only with --write.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Doctor\Checks;

use Toporia\Realtime\Admin;
use Toporia\Realtime\Broker;
use Toporia\Realtime\Doctor\Check;
use Toporia\Realtime\Doctor\ClockSkew;
use Toporia\Realtime\Doctor\Context;
use Toporia\Realtime\Doctor\Finding;
use Toporia\Realtime\Exception\DeliveryException;
use Toporia\Realtime\Exception\RealtimeException;
use Toporia\Realtime\Exception\UnknownTopicException;
use Toporia\Realtime\Message;

/**
 * Through a topic of the doctor's own, whose records the broker stamps with its clock; nobody subscribes it.
 */
final class RoundTripCheck implements Check
{
    /** How often a topic that was made just now is looked for. */
    private const TRIES = 10;
    private const SETTINGS = ['message.timestamp.type' => 'LogAppendTime', 'retention.ms' => 600_000];

    public function name(): string
    {
        return 'round-trip';
    }

    public function title(): string
    {
        return 'A record there and back';
    }

    public function needs(): array
    {
        return ['client'];
    }

    public function run(Context $context): iterable
    {
        $topic = $context->topics->probe();
        if (!$context->options->write) {
            yield Finding::skipped('round trip', "not asked for: --write sends a record to $topic and reads it");

            return;
        }
        $probe = bin2hex(random_bytes(16));
        $admin = $context->admin();
        try {
            // Asked first: who may write to it need not be allowed to create any.
            $there = $admin->topics($topic) !== [];
            if (!$there && !$context->isMock()) {
                $admin->createTopic($topic, 1, -1, self::SETTINGS);
            }
            // One that is new begins with 0, and not every broker knows it at once.
            $offset = $there ? $admin->offsets($topic)[0]['end'] : 0;
            $before = microtime(true);
            $this->send($context, $topic, $probe);
            $sent = microtime(true);
            $found = $this->find($admin, $topic, $offset, $probe);
        } catch (DeliveryException $e) {
            $why = implode('; ', array_unique(array_column($e->getFailed(), 'reason'))) ?: $e->getMessage();
            yield Finding::error(
                'round trip',
                "a record could not be sent to $topic: $why",
                'May this user write there? Are enough brokers up for acks=all?'
            );

            return;
        } catch (RealtimeException $e) {
            yield Finding::error(
                'round trip',
                "through $topic failed: {$e->getMessage()}",
                'May this user create, write and read that topic? It can be created by hand: '
                    . "kafka-topics.sh --create --topic $topic --config message.timestamp.type=LogAppendTime"
            );

            return;
        }
        if ($found === null) {
            yield Finding::error(
                'round trip',
                "the record was acknowledged and is not in $topic",
                'Look at the log of the broker that leads partition 0 of that topic.'
            );

            return;
        }
        $back = microtime(true);
        yield Finding::ok(
            'round trip',
            sprintf('a record went to %s in %d ms and came back in %d ms', $topic, ($sent - $before) * 1000, ($back - $sent) * 1000),
            ['topic' => $topic, 'sent_ms' => (int) (($sent - $before) * 1000), 'read_ms' => (int) (($back - $sent) * 1000)]
        );
        if (!$context->hasClock && $context->blocked('admin') === null && $this->isStamped($context, $topic)) {
            yield $this->clock($found, $before, $sent);
        }
    }

    private function find(Admin $admin, string $topic, int $offset, string $probe): ?Message
    {
        $found = null;
        $attempt = static function (Message $message) use ($probe, &$found): ?bool {
            $found = $message->getPayload() === $probe ? $message : null;

            return $found === null ? null : false;
        };
        for ($tries = self::TRIES;; $tries--) {
            try {
                $admin->read($topic, $attempt, [0 => $offset]);

                return $found;
            } catch (UnknownTopicException $e) {
                if ($tries <= 1) {
                    throw $e;
                }
                usleep(300_000);
            }
        }
    }

    private function send(Context $context, string $topic, string $probe): void
    {
        $broker = new Broker(['broker' => $context->settings->name, 'spool' => false, 'spool_when' => 'undelivered', 'produce' => 'sync']);
        try {
            $broker->send($topic, $probe, 'doctor', partition: 0);
        } finally {
            $broker->close();
        }
    }

    /** A topic that somebody made by hand may keep the sender's time. */
    private function isStamped(Context $context, string $topic): bool
    {
        try {
            return ($context->admin()->topicConfig($topic)['message.timestamp.type'] ?? '') === 'LogAppendTime';
        } catch (RealtimeException) {
            // This user may not see it: then nobody knows whose time it is.
            return false;
        }
    }

    /** The broker stamped it between the two moments, in whole seconds. */
    private function clock(Message $message, float $before, float $sent): Finding
    {
        $stamp = (float) $message->getTimestamp();
        $behind = match (true) {
            $stamp + 1 < $before => $stamp + 1 - $before,
            $stamp > $sent => $stamp - $sent,
            default => 0.0,
        };

        return ClockSkew::finding($behind, 'the broker that stamped the record', false);
    }
}
