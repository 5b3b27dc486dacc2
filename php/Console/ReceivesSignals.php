<?php

/** A command whose handleSignal() is called by Symfony Console. */

declare(strict_types=1);

namespace Toporia\Realtime\Console;

use ReflectionMethod;
use Symfony\Component\Console\Command\SignalableCommandInterface;

// Up to Symfony 6.2 the method returns nothing and cannot prevent the application from exiting: WorkerCommand registers
// its handler itself there.
if ((string) (new ReflectionMethod(SignalableCommandInterface::class, 'handleSignal'))->getReturnType() === 'void') {
    interface ReceivesSignals
    {
    }
} else {
    class_alias(SignalableCommandInterface::class, ReceivesSignals::class);
}
