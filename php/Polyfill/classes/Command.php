<?php

declare(strict_types=1);

namespace Toporia\Framework\Console;

use Toporia\Realtime\Polyfill\CommandInput;
use Toporia\Realtime\Polyfill\Signature;

/**
 * Polyfill of the framework's console command, for commands written for Toporia that run without it. Runs in ./console,
 * or on its own: `(new NotifyCommand(realtime()))->handle()` prints to standard output.
 *
 *     final class NotifyCommand extends Command
 *     {
 *         protected string $signature = 'notify {user} {--channels=*}';
 *
 *         public function handle(): int
 *         {
 *             foreach ($this->option('channels', ['user.1']) as $channel) {
 *                 $this->info("Watching $channel");
 *             }
 *
 *             return self::SUCCESS;
 *         }
 *     }
 */
abstract class Command
{
    public const SUCCESS = 0;
    public const FAILURE = 1;
    public const INVALID = 2;

    protected string $signature = '';
    protected string $description = '';
    protected ?object $input = null;
    protected ?object $output = null;

    /** Empty, so that commands may call parent::__construct(), but need not. */
    public function __construct()
    {
    }

    /** @return int the exit code */
    abstract public function handle(): int;

    public function getSignature(): string
    {
        return $this->signature;
    }

    public function getName(): string
    {
        return Signature::parse($this->signature)->name;
    }

    public function getDescription(): string
    {
        return $this->description;
    }

    /** @param object $input any object with getOption() and getArgument() */
    public function setInput(object $input): void
    {
        $this->input = $input;
    }

    /** @param object $output any object with write() and writeln() */
    public function setOutput(object $output): void
    {
        $this->output = $output;
    }

    /** An argument by name or position, or the default if it was not given. */
    protected function argument(string|int $key, mixed $default = null): mixed
    {
        $value = $this->input === null
            ? CommandInput::of($this->signature)->getArgument($key)
            : $this->input->getArgument($key);

        return $value === null || $value === '' ? $default : $value;
    }

    /**
     * An option by name, or the default if it was not given or is empty.
     *
     * An option declared as `{--x=*}` is always a list; commas separate values.
     */
    protected function option(string $name, mixed $default = null): mixed
    {
        $value = $this->input === null
            ? CommandInput::of($this->signature)->getOption($name)
            : $this->input->getOption($name);

        return $value === null || $value === '' || $value === [] || $value === false ? $default ?? $value : $value;
    }

    protected function hasOption(string $name): bool
    {
        return !in_array($this->option($name), [null, false, '', []], true);
    }

    protected function write(string $message): void
    {
        $this->output !== null ? $this->output->write($message) : print(self::plain($message));
    }

    protected function writeln(string $message): void
    {
        $this->output !== null ? $this->output->writeln($message) : print(self::plain($message) . PHP_EOL);
    }

    protected function info(string $message): void
    {
        $this->writeStyled('info', "<info>$message</info>", $message);
    }

    protected function success(string $message): void
    {
        $this->writeStyled('success', "<info>$message</info>", $message);
    }

    protected function warn(string $message): void
    {
        $this->writeStyled('warning', "<comment>$message</comment>", $message);
    }

    protected function error(string $message): void
    {
        if ($this->output === null && PHP_SAPI === 'cli') {
            fwrite(STDERR, self::plain($message) . PHP_EOL);

            return;
        }
        $this->writeStyled('error', "<error>$message</error>", $message);
    }

    /** A line of text; with a length, as in the framework's older generation, a rule of that character. */
    protected function line(string $message = '-', ?int $length = null): void
    {
        $this->writeln($length === null ? $message : str_repeat($message, $length));
    }

    protected function separator(string $char = '-', int $length = 80): void
    {
        $this->writeln(str_repeat($char, $length));
    }

    protected function newLine(int $count = 1): void
    {
        $this->write(str_repeat(PHP_EOL, $count));
    }

    /**
     * @param array<int, string> $headers
     * @param array<int, array<int, mixed>> $rows
     */
    protected function table(array $headers, array $rows): void
    {
        foreach ([$headers, ...$rows] as $row) {
            $this->writeln(implode('  ', array_map(static fn (mixed $cell): string => (string) $cell, $row)));
        }
    }

    /** Asks for confirmation; returns the default if standard input is not a terminal. */
    protected function confirm(string $question, bool $default = false): bool
    {
        $answer = strtolower($this->ask($question . ($default ? ' [Y/n]' : ' [y/N]')));

        return $answer === '' ? $default : in_array($answer, ['y', 'yes'], true);
    }

    /** Asks a question; returns the default if standard input is not a terminal. */
    protected function ask(string $question, ?string $default = null): string
    {
        if (PHP_SAPI !== 'cli' || !stream_isatty(STDIN)) {
            return $default ?? '';
        }
        $this->write("$question: ");
        $answer = trim((string) fgets(STDIN));

        return $answer === '' ? $default ?? '' : $answer;
    }

    /** Uses the output's own method if it has one, as the framework's does, else Symfony's markup. */
    private function writeStyled(string $level, string $marked, string $message): void
    {
        if ($this->output !== null && method_exists($this->output, $level)) {
            $this->output->$level($message);

            return;
        }
        if ($this->output === null) {
            $this->writeln($message);

            return;
        }
        // Symfony takes a backslash before the closing tag as an escape: its formatter turns NUL into a backslash again.
        $text = rtrim($message, '\\');
        $backslashes = strlen($message) - strlen($text);
        $this->writeln(str_replace("$message</", $text . str_repeat("\0", $backslashes) . '</', $marked));
    }

    /** Removes `<info>`, `<fg=green>` and other tags, which only a framework's output turns into colours. */
    private static function plain(string $message): string
    {
        return (string) preg_replace('~</?(?:info|comment|question|error|fg=[^<>]*|bg=[^<>]*|options=[^<>]*)?>~', '', $message);
    }
}
