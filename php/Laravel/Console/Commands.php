<?php

declare(strict_types=1);

namespace Toporia\Realtime\Laravel\Console;

use Illuminate\Console\Application as Artisan;
use Toporia\Realtime\Console\CommandList;
use Toporia\Realtime\Console\Host;

/**
 * Registers this package's commands in artisan. The commands of ./console, and three for Laravel only.
 */
final class Commands
{
    public static function add(Artisan $artisan, Host $host): void
    {
        $laravel = $artisan->getLaravel();
        foreach ([...CommandList::of($host), $laravel->make(InstallCommand::class)] as $command) {
            // Symfony 8 only has addCommand(), versions before 7.4 only add().
            method_exists($artisan, 'addCommand') ? $artisan->addCommand($command) : $artisan->add($command);
        }
    }

    /**
     * Registers kafka:send and kafka:consume, unless the names are taken now or later.
     */
    public static function addRaw(Artisan $artisan): void
    {
        // If Laravel loads commands lazily, has() does not know any of them yet.
        $lazy = (fn (): array => $this->commandMap ?? [])->call($artisan);
        foreach ([SendCommand::NAME => SendCommand::class, ReceiveCommand::NAME => ReceiveCommand::class] as $name => $class) {
            if (!$artisan->has($name) && !isset($lazy[$name])) {
                $artisan->resolve($class);
            }
        }
    }
}
