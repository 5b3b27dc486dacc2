<?php

declare(strict_types=1);

namespace Toporia\Realtime\Polyfill;

use Toporia\Realtime\Support\Environment;
use Toporia\Realtime\Toporia\DropIn;

/**
 * Makes code written for Toporia run without Toporia, and defines nothing that Toporia or another framework defines.
 * Classes come from an autoloader registered last, so that a real class always wins. Functions cannot be autoloaded,
 * and frameworks define theirs after Composer's files with `function_exists()` guards, so ours would win and bypass
 * their containers. They are therefore only defined if no framework can be autoloaded.
 *
 * `REALTIME_POLYFILLS=off` in the environment disables the functions.
 */
final class Polyfill
{
    /** Frameworks that define config(), env() or logger(), most likely first. */
    private const FRAMEWORKS = [
        'Toporia\Framework\Realtime\RealtimeManager',
        'Illuminate\Foundation\Application',
        'CodeIgniter\CodeIgniter',
        'think\App',
        'Hyperf\Contract\ConfigInterface',
        'Cake\Core\Configure',
    ];

    private const CLASSES = [
        'Toporia\Framework\Console\Command' => 'Command',
        'Toporia\Framework\Realtime\Contracts\BrokerInterface' => 'BrokerInterface',
        'Toporia\Framework\Realtime\Contracts\MessageInterface' => 'MessageInterface',
        'Toporia\Framework\Realtime\Contracts\RealtimeManagerInterface' => 'RealtimeManagerInterface',
        'Toporia\Framework\Realtime\Message' => 'Message',
    ];

    private static bool $registered = false;

    /** Called by bootstrap.php. */
    public static function register(): void
    {
        if (self::$registered) {
            return;
        }
        self::$registered = true;
        spl_autoload_register(self::load(...));
        spl_autoload_register(DropIn::load(...), true, true);
        if (Environment::get('REALTIME_POLYFILLS') !== 'off' && self::framework() === null) {
            require __DIR__ . '/helpers.php';
        }
    }

    /** A class of the framework that can be autoloaded here; null if there is none. */
    public static function framework(): ?string
    {
        foreach (self::FRAMEWORKS as $class) {
            if (class_exists($class) || interface_exists($class, false)) {
                return $class;
            }
        }

        return null;
    }

    private static function load(string $class): void
    {
        if (isset(self::CLASSES[$class])) {
            require __DIR__ . '/classes/' . self::CLASSES[$class] . '.php';
        }
    }
}
