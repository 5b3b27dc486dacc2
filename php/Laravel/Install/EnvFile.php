<?php

declare(strict_types=1);

namespace Toporia\Realtime\Laravel\Install;

use Toporia\Realtime\Exception\ConfigurationException;

/**
 * Adds variables to an application's .env. A variable with a value keeps it, and all other lines are left unchanged.
 */
final class EnvFile
{
    private string $text;
    private bool $changed = false;

    /** @param string|null $example template for a new file */
    public function __construct(private string $file, ?string $example = null)
    {
        $source = is_file($file) ? $file : $example;
        $this->text = $source !== null && is_file($source) ? (string) file_get_contents($source) : '';
    }

    /** The value as written, without quotes; null: the variable is absent. */
    public function get(string $name): ?string
    {
        $found = preg_match('/^' . preg_quote($name, '/') . '=(.*)$/m', $this->text, $match);

        return $found === 1 ? trim(trim($match[1]), '"\'') : null;
    }

    /**
     * Sets a variable if it is absent or empty.
     *
     * @return bool true if it was set
     */
    public function add(string $name, string $value): bool
    {
        if (!in_array($this->get($name), [null, ''], true)) {
            return false;
        }
        $this->set($name, $value);

        return true;
    }

    public function set(string $name, string $value): void
    {
        $line = $name . '=' . (preg_match('/\A[\w.,:\/-]*\z/', $value) === 1 ? $value : "\"$value\"");
        if ($this->get($name) === null) {
            $gap = $this->text === '' || str_ends_with($this->text, "\n") ? '' : "\n";
            $this->text .= "$gap$line\n";
        } else {
            $pattern = '/^' . preg_quote($name, '/') . '=.*$/m';
            // Not preg_replace(): "$" has a meaning in replacement texts.
            $this->text = (string) preg_replace_callback($pattern, static fn (): string => $line, $this->text, 1);
        }
        $this->changed = true;
    }

    /** Adds an empty line between two groups. */
    public function addBlankLine(): void
    {
        if ($this->text !== '') {
            $this->text = rtrim($this->text, "\n") . "\n\n";
        }
    }

    /** @throws ConfigurationException the file cannot be written */
    public function save(): void
    {
        if (!$this->changed) {
            return;
        }
        // Written in place, so that a link stays a link and the file keeps its owner.
        if (@file_put_contents($this->file, $this->text, LOCK_EX) === false) {
            throw new ConfigurationException("Cannot write $this->file. Check its permissions.");
        }
    }
}
