<?php

/**
 * A service as in the guides: it gets the realtime manager and broadcasts with named arguments.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Guides\App;

use Toporia\Framework\Realtime\Contracts\RealtimeManagerInterface;

class NotificationService
{
    public function __construct(private readonly RealtimeManagerInterface $realtime)
    {
    }

    public function notify(int $userId, string $title, string $body): void
    {
        $this->realtime->broadcast(
            channel: "user.{$userId}",
            event: 'notification',
            data: ['title' => $title, 'body' => $body, 'timestamp' => time()]
        );
    }

    public function announce(string $title): void
    {
        $this->realtime->broadcast(channel: 'public.announcements', event: 'announcement', data: ['title' => $title]);
    }
}
