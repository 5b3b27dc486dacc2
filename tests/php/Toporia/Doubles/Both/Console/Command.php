<?php

/**
 * A command without a constructor, whose options are the typed ones.
 */

declare(strict_types=1);

namespace Toporia\Framework\Console;

abstract class Command
{
    protected string $signature = '';
    protected string $description = '';
    protected ?object $input = null;
    protected ?object $output = null;

    abstract public function handle(): int;

    public function getName(): string
    {
        return explode(' ', $this->signature)[0];
    }

    public function getDescription(): string
    {
        return $this->description;
    }

    public function setInput(object $input): void
    {
        $this->input = $input;
    }

    public function setOutput(object $output): void
    {
        $this->output = $output;
    }

    protected function write(string $message): void
    {
        $this->output?->write($message);
    }
}
