<?php

/**
 * Checks that the configuration is accepted and plausible.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics\Checks;

use Toporia\Realtime\Admin;
use Toporia\Realtime\Diagnostics\Check;
use Toporia\Realtime\Diagnostics\ConfigurationRules;
use Toporia\Realtime\Diagnostics\Context;
use Toporia\Realtime\Diagnostics\Finding;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Realtime;

/**
 * Reports all errors found by the extension, not only the first, then questionable settings.
 */
final class ConfigurationCheck implements Check
{
    private const UNKNOWN = "/\AUnknown setting '(?<key>[^']+)' in (?<place>.+?)\. (?<hint>Did you mean '[^']+'\?)?/s";

    public function name(): string
    {
        return 'configuration';
    }

    public function title(): string
    {
        return 'Configuration';
    }

    public function needs(): array
    {
        return [];
    }

    public function run(Context $context): iterable
    {
        $faults = 0;
        $reported = [];
        foreach ($this->refused($context) as $finding) {
            $faults++;
            $reported[] = $finding->text;
            yield $finding;
        }
        if ($context->loadError !== null && !$this->isReported($context->loadError, $reported)) {
            $faults++;
            yield Finding::error(
                'config/realtime.php',
                $context->loadError,
                'Correct the file; `php config/realtime.php` shows PHP\'s error. The following checks run '
                    . 'without it.'
            );
        }
        foreach ((new ConfigurationRules($context))->findings() as $finding) {
            $faults++;
            yield $finding;
        }
        if ($faults === 0) {
            $file = "$context->directory/config/realtime.php";
            yield Finding::ok('configuration', 'accepted, without contradictions (' . (is_file($file) ? $file
                : 'the environment and defaults') . ')');
        }
    }

    /** @return iterable<Finding> */
    private function refused(Context $context): iterable
    {
        if (!$context->hasExtension()) {
            yield Finding::skipped('settings', 'unknown settings and wrong values are detected by the extension, '
                . 'which is not loaded');

            return;
        }
        $config = $context->config;
        for ($left = 30; $left > 0; $left--) {
            try {
                Realtime::configure($config);
                (new Admin(['broker' => $context->settings->name]))->close();

                return;
            } catch (ConfigurationException $e) {
                $unknown = preg_match(self::UNKNOWN, $e->getMessage(), $match) === 1;
                $without = $unknown ? self::without($config, $match['place'], stripslashes($match['key'])) : null;
                if ($without === null) {
                    $context->block('configuration', 'the configuration is rejected');
                    yield Finding::error(
                        'settings',
                        $e->getMessage(),
                        'Correct this setting. Until then every broadcast and every worker fails with this message.'
                    );

                    return;
                }
                $config = $without;
                $hint = ($match['hint'] ?? '') !== '' ? $match['hint'] . ' Rename it, or remove it.'
                    : 'Remove it; the settings are listed in docs/configuration.md and config/realtime.php.';
                yield Finding::error(
                    'settings',
                    "unknown setting '{$match['key']}' in {$match['place']}",
                    $hint . ' Until then the configuration is rejected as a whole; what follows is looked at '
                        . 'without this setting.'
                );
            }
        }
    }

    /**
     * The configuration without one key; null if the key is not found.
     *
     * @param array<mixed> $config
     *
     * @return array<mixed>|null
     */
    private static function without(array $config, string $place, string $key): ?array
    {
        $path = $place === 'the realtime configuration' ? [] : explode('.', $place);
        if ($path !== [] && array_shift($path) !== 'realtime') {
            return null;
        }
        $at = &$config;
        foreach ($path as $step) {
            if (!is_array($at[$step] ?? null)) {
                return null;
            }
            $at = &$at[$step];
        }
        if (!array_key_exists($key, $at)) {
            return null;
        }
        unset($at[$key]);

        return $config;
    }

    /** @param list<string> $reported */
    private function isReported(string $message, array $reported): bool
    {
        if ($reported !== [] && preg_match(self::UNKNOWN, $message) === 1) {
            return true;
        }

        return in_array($message, $reported, true);
    }
}
