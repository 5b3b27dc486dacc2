<?php

/**
 * A handler as an application writes it, with a log.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Worker;

use Throwable;
use Toporia\Realtime\Message;

final class SampleHandler
{
    /** @var list<string> */
    public static array $log = [];
    public static ?Throwable $throw = null;
    public static int $made = 0;

    public function __construct()
    {
        self::$made++;
    }

    public function handle(Message $message): void
    {
        self::$log[] = 'handle ' . $message->getEvent();
        if (self::$throw !== null) {
            throw self::$throw;
        }
    }

    public function failed(Message $message, Throwable $e): void
    {
        self::$log[] = 'failed ' . $message->getEvent() . ': ' . $e->getMessage();
    }
}
