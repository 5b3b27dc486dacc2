<?php

declare(strict_types=1);

namespace Toporia\Realtime\Console;

use Symfony\Component\Console\Attribute\AsCommand;

#[AsCommand('realtime:topics', 'List the topics of this application, and differences from the configuration')]
final class TopicsCommand extends TopicsListCommand
{
    protected const COMPARES = true;
}
