<?php

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics\Checks;

use Toporia\Realtime\Admin;
use Toporia\Realtime\Broker;
use Toporia\Realtime\Diagnostics\Check;
use Toporia\Realtime\Diagnostics\Context;
use Toporia\Realtime\Diagnostics\Finding;
use Toporia\Realtime\Exception\DeliveryException;
use Toporia\Realtime\Exception\RealtimeException;
use Toporia\Realtime\Exception\UnknownTopicException;
use Toporia\Realtime\Message;
use Toporia\Realtime\Worker\Text;

/**
 * Sends a record to Kafka and reads it back. Only with --write. Uses a dedicated topic with broker timestamps; no
 * consumer subscribes to it.
 */
final class RoundTripCheck extends Check
{
    public const NAME = 'round-trip';
    public const TITLE = 'Round trip';
    public const NEEDS = ['client'];
    /** Maximum attempts to read from a new topic. */
    private const TRIES = 10;
    private const SETTINGS = ['message.timestamp.type' => 'LogAppendTime', 'retention.ms' => 600_000];
    private const WARNING_SECONDS = 2.0;
    private const ERROR_SECONDS = 300.0;
    private const BROKER = 'the broker that stamped the record';

    public function run(Context $context): iterable
    {
        $topic = $context->plan()->probe();
        if (!$context->options->write) {
            yield Finding::skipped('round trip', "skipped: --write sends a record to $topic, reads it and compares the clocks");

            return;
        }
        $probe = bin2hex(random_bytes(16));
        $admin = $context->admin();
        try {
            // Check first: a user who may write to the topic need not be allowed to create it.
            $there = $admin->topics($topic) !== [];
            if (!$there && !$context->isMock()) {
                $admin->createTopic($topic, 1, -1, self::SETTINGS);
            }
            // A new topic starts at offset 0, and not all brokers know it immediately.
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
                "the record was acknowledged but is not in $topic",
                'Check the log of the broker that leads partition 0 of that topic.'
            );

            return;
        }
        $back = microtime(true);
        yield Finding::ok(
            'round trip',
            sprintf('a record was written to %s in %d ms and read back '
                . 'in %d ms', $topic, ($sent - $before) * 1000, ($back - $sent) * 1000),
            ['topic' => $topic, 'sent_ms' => (int) (($sent - $before) * 1000), 'read_ms' => (int) (($back - $sent) * 1000)]
        );
        if ($context->blocked('admin') === null && $this->isStamped($context, $topic)) {
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
        $broker = new Broker([
            'broker' => $context->settings['broker'], 'spool' => false, 'spool_when' => 'undelivered', 'produce' => 'sync',
        ]);
        try {
            $broker->send($topic, $probe, 'doctor', partition: 0);
        } finally {
            $broker->close();
        }
    }

    /** A manually created topic may use the producer's timestamp. */
    private function isStamped(Context $context, string $topic): bool
    {
        try {
            return ($context->admin()->topicConfig($topic)['message.timestamp.type'] ?? '') === 'LogAppendTime';
        } catch (RealtimeException) {
            // The user may not read the settings: the origin of the timestamp is unknown.
            return false;
        }
    }

    /** The broker assigned the timestamp between both times, in whole seconds. */
    private function clock(Message $message, float $before, float $sent): Finding
    {
        $stamp = (float) $message->getTimestamp();
        $behind = match (true) {
            $stamp + 1 < $before => $stamp + 1 - $before,
            $stamp > $sent => $stamp - $sent,
            default => 0.0,
        };

        return self::clockFinding($behind);
    }

    /** @param float $behind seconds that this machine's clock is behind that of the broker, roughly; negative: ahead */
    public static function clockFinding(float $behind): Finding
    {
        $off = abs($behind);
        $facts = ['behind_seconds' => round($behind, 3)];
        if ($off < self::WARNING_SECONDS) {
            return Finding::ok('clock', 'agrees with ' . self::BROKER . ' (within two seconds)', $facts);
        }
        $text = 'this machine is ' . Text::seconds($off) . ($behind > 0 ? ' behind ' : ' ahead of ') . self::BROKER;
        $remedy = 'Compare `date -u` on both machines; on the wrong one: `timedatectl set-ntp true` (chrony or '
            . 'systemd-timesyncd).';

        return $off < self::ERROR_SECONDS
            ? Finding::warning('clock', $text, $remedy, $facts)
            : Finding::error(
                'clock',
                "$text: retention, --from times, signatures and certificates are unreliable",
                $remedy,
                $facts
            );
    }
}
