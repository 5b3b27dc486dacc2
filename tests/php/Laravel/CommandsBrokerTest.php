<?php

/**
 * The commands that only Laravel has, and the presence of all others.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Laravel;

use PHPUnit\Framework\Attributes\DataProvider;
use Toporia\Realtime\Console\CommandList;
use Toporia\Realtime\Console\PlainHost;

final class CommandsBrokerTest extends LaravelTestCase
{
    public function testEveryCommandOfThePlainConsoleIsInArtisan(): void
    {
        $list = $this->artisan('list --raw')->assertExit()->stdout;
        foreach (CommandList::of(new PlainHost([], $this->app)) as $command) {
            self::assertStringContainsString($command->getName() . ' ', $list);
        }
        foreach (['realtime:install', 'kafka:send', 'kafka:consume'] as $name) {
            self::assertStringContainsString("$name ", $list);
        }
    }

    public function testTheRawTopicOfTheLaravelGuide(): void
    {
        $topic = $this->topic('guide');
        $this->addEnv(['KAFKA_TOPIC' => $topic, 'KAFKA_GROUP' => $this->group]);
        $said = $this->artisan('kafka:send Hello')->assertExit()->stdout;
        self::assertStringContainsString("Sent to $topic.", $said);
        $this->artisan('kafka:send {"id":7} --key=seven')->assertExit();
        // The default group has no other members here, and starts at the beginning.
        $got = $this->artisan('kafka:consume --max-messages=2')->assertExit()->lines();
        self::assertEqualsCanonicalizing(['Hello', '{"id":7}'], array_slice($got, 1));
        $records = $this->consumeAll($topic, 2);
        self::assertEqualsCanonicalizing([null, 'seven'], array_map(static fn ($r) => $r->getKey(), $records));
        // Acknowledged with ack(): not delivered again.
        $this->artisan('kafka:send Bye')->assertExit();
        $worker = $this->startArtisan('kafka:consume');
        $worker->waitForOutput('/^Bye$/m');
        $end = $worker->signal()->wait()->assertExit();
        self::assertStringNotContainsString('Hello', $end->stdout);
    }

    public function testWithoutATopicItAsksForOne(): void
    {
        $said = $this->artisan('kafka:send Hello')->assertExit(2);
        self::assertStringContainsString('Set KAFKA_TOPIC in .env', $said->stderr);
    }

    /** @dataProvider owners */
    #[DataProvider('owners')]
    public function testCommandNamesThatAreInUseAreNotOverridden(string $where, string $code): void
    {
        $this->write($where, $code);
        self::assertSame(["another package's"], $this->artisan('kafka:consume')->assertExit()->lines());
        // The other one is available.
        $this->artisan('kafka:send x --topic=' . $this->topic())->assertExit();
    }

    /** @return array<string, array{string, string}> */
    public static function owners(): array
    {
        $command = <<<'PHP'
            class Theirs extends \Illuminate\Console\Command
            {
                protected $signature = 'kafka:consume';

                public function handle()
                {
                    echo "another package's\n";
                }
            }
            PHP;
        $provider = fn (string $method): string => <<<PHP
            <?php

            namespace App\Providers;

            $command

            final class AppServiceProvider extends \Illuminate\Support\ServiceProvider
            {
                public function $method(): void
                {
                    \$this->commands([Theirs::class]);
                }
            }
            PHP;

        return [
            'a provider, later' => ['app/Providers/AppServiceProvider.php', $provider('boot')],
            'a provider, as early as ours' => ['app/Providers/AppServiceProvider.php', $provider('register')],
            'a provider, by attribute' => [
                'app/Providers/AppServiceProvider.php',
                str_replace(
                    'class Theirs',
                    "#[\\Symfony\\Component\\Console\\Attribute\\AsCommand(name: 'kafka:consume')]\nclass Theirs",
                    $provider('boot')
                ),
            ],
            'the application' => ['app/Console/Kernel.php', <<<PHP
                <?php

                namespace App\Console;

                $command

                final class Kernel extends \Illuminate\Foundation\Console\Kernel
                {
                    protected \$commands = [Theirs::class];
                }
                PHP],
        ];
    }
}
