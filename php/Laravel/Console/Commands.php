<?php

/**
 * Our commands in artisan.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Laravel\Console;

use Illuminate\Console\Application as Artisan;
use Toporia\Realtime\Console\CommandList;
use Toporia\Realtime\Console\Host;

/**
 * The same classes as in ./console, and Laravel's own three.
 */
final class Commands
{
    public static function add(Artisan $artisan, Host $host): void
    {
        $laravel = $artisan->getLaravel();
        foreach ([...CommandList::of($host), $laravel->make(InstallCommand::class)] as $command) {
            // Symfony 8 has addCommand() alone, those before 7.4 add() alone.
            method_exists($artisan, 'addCommand') ? $artisan->addCommand($command) : $artisan->add($command);
        }
    }

    /**
     * kafka:send and kafka:consume, unless somebody has the name, or takes it later.
     */
    public static function addRaw(Artisan $artisan): void
    {
        // Where Laravel loads commands lazily, has() knows of none of them yet.
        $lazy = (fn (): array => $this->commandMap ?? [])->call($artisan);
        foreach ([SendCommand::NAME => SendCommand::class, ReceiveCommand::NAME => ReceiveCommand::class] as $name => $class) {
            if (!$artisan->has($name) && !isset($lazy[$name])) {
                $artisan->resolve($class);
            }
        }
    }
}
