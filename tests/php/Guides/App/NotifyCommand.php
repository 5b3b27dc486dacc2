<?php

/**
 * Broadcasts with named arguments, through a service.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Guides\App;

use Toporia\Framework\Console\Command;
use Toporia\Framework\Realtime\Contracts\RealtimeManagerInterface;

class NotifyCommand extends Command
{
    protected string $signature = 'guide:notify {user=1}';
    protected string $description = 'Notifies a user';

    public function __construct(private readonly RealtimeManagerInterface $realtime)
    {
        parent::__construct();
    }

    public function handle(): int
    {
        $service = new NotificationService($this->realtime);
        $service->notify((int) $this->argument('user', 1), 'Hello', 'Your order is on its way');
        $service->announce('Sale');
        $this->info('Sent');

        return 0;
    }
}
