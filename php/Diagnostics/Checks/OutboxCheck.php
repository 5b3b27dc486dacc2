<?php

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics\Checks;

use Throwable;
use Toporia\Realtime\Diagnostics\Check;
use Toporia\Realtime\Diagnostics\Context;
use Toporia\Realtime\Diagnostics\Finding;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Outbox\Backlog;
use Toporia\Realtime\Outbox\Rows;
use Toporia\Realtime\Outbox\Settings;

/** Checks the backlog of the outbox. */
final class OutboxCheck extends Check
{
    public const NAME = 'outbox';
    public const TITLE = 'Outbox';
    private const WARNING_SECONDS = 60.0;
    private const ERROR_SECONDS = 900.0;

    public function run(Context $context): iterable
    {
        try {
            $settings = Settings::of($context->config);
        } catch (ConfigurationException $e) {
            yield Finding::error('outbox', $e->getMessage(), 'Correct `outbox` in config/realtime.php.');

            return;
        }
        $configured = $settings->driver() !== null || isset($context->config['outbox']['connect']);
        if (!$configured) {
            yield Finding::skipped('outbox', 'not configured (outbox.dsn, REALTIME_OUTBOX_DSN)');

            return;
        }
        try {
            $rows = new Rows($settings->database(), $settings->table, $settings->shards);
            $rows->check();
            $backlog = $rows->backlog();
        } catch (Throwable $e) {
            yield Finding::error(
                'outbox',
                $e->getMessage(),
                "Is the database up, and are the credentials correct? If the table $settings->table is missing: "
                    . "realtime:outbox:table"
            );

            return;
        }
        yield from $this->evaluate($backlog, $settings->table);
    }

    /** @return iterable<Finding> */
    private function evaluate(Backlog $backlog, string $table): iterable
    {
        $facts = ['pending' => $backlog->pending, 'retry' => $backlog->retry, 'failed' => $backlog->failed,
            'oldest_seconds' => round($backlog->age, 1)];
        if ($backlog->failed > 0) {
            yield Finding::error(
                "outbox $table",
                Backlog::shown($backlog->failed) . ' rows can never be sent',
                "SELECT id, last_error FROM $table " . 'WHERE state = \'failed\'; correct them and set their state '
                    . 'to \'pending\', or delete them.',
                $facts
            );
        }
        $waiting = $backlog->pending + $backlog->retry;
        $text = $waiting === 0 ? 'empty' : Backlog::shown($waiting) . ' row' . ($waiting === 1 ? ' waits' : 's wait')
            . ($backlog->retry > 0 ? " ({$backlog->retry} of them rejected by Kafka before)" : '')
            . ', the oldest for ' . round($backlog->age) . ' s';
        $remedy = 'Is a relay running? Start realtime:outbox:relay (one is enough; two share the shards). If it runs, '
            . 'its log shows why it cannot send.';
        yield match (true) {
            $backlog->age >= self::ERROR_SECONDS => Finding::error("outbox $table", $text, $remedy, $facts),
            $backlog->age >= self::WARNING_SECONDS => Finding::warning("outbox $table", $text, $remedy, $facts),
            default => Finding::ok("outbox $table", $text, $facts),
        };
    }
}
