<?php

declare(strict_types=1);

namespace Toporia\Realtime\Console;

use Symfony\Component\Console\Input\InputOption;

/**
 * A host whose framework has own options for its realtime:kafka:consume. Scripts and supervisor files that call the
 * framework's command keep working with the one of this package.
 */
interface AddsConsumeOptions
{
    /**
     * The framework's options that realtime:kafka:consume does not have.
     *
     * @return list<InputOption>
     */
    public function consumeOptions(): array;

    /**
     * Translates these options to those of realtime:kafka:consume.
     *
     * @param array<string, mixed> $options all given options by name
     *
     * @return array<string, mixed>
     */
    public function translateOptions(array $options): array;
}
