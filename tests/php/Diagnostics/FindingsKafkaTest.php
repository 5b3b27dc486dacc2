<?php

/**
 * realtime:doctor beyond the connection: ACLs, topics, groups, lag, dead letters, spool, outbox, gateway, settings.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Diagnostics;

use PDO;
use Toporia\Realtime\Gateway;
use Toporia\Realtime\Message;
use Toporia\Realtime\Outbox\Outbox;
use Toporia\Realtime\Realtime;
use Toporia\Realtime\Tests\Security\SecureTestCase;
use Toporia\Realtime\Tests\Support\RunsDoctor;

final class FindingsKafkaTest extends SecureTestCase
{
    use RunsDoctor;

    private const SECRET = '3f1c5e0a9b7d4826a0c4e8f2b6d19573';

    /** Sends one message to each channel. */
    private function send(string ...$channels): void
    {
        foreach ($channels as $channel) {
            Realtime::broadcast($channel, 'paid', 1);
        }
        Realtime::flush();
    }

    public function testAnAclThatForbidsOneTopic(): void
    {
        $this->send('user.1', 'user.2', 'user.3');
        $closed = $this->channelTopic('user.2');
        self::kafka()->acl('--deny-principal', 'User:shop', '--operation', 'Read', '--topic', $closed);
        self::eventually(function () use ($closed, &$report): bool {
            $report = $this->doctor();

            return in_array('error', $report->levels('acl'), true);
        }, 'the ACL takes effect');
        $text = "/topic $closed: User:shop may not read: workers receive none of its records/";
        $report->expect('error', 'acl', $text, "/--operation Read --topic $closed/");
        self::assertCount(1, $report->of('acl'), 'The others are in order.');
        self::assertSame(1, $report->summary['error'], $report->result->describe());
    }

    public function testAUserWithoutAnyAccess(): void
    {
        $this->configure("['topic_strategy' => 'grouped', 'topic_mapping' => ['user.*' => '{$this->prefix}.users']]");
        $report = $this->doctor('', ['KAFKA_SASL_USERNAME' => 'guest', 'KAFKA_SASL_PASSWORD' => 'guest-password']);
        $report->expect('error', 'acl', "/topics .*{$this->prefix}\\.users.*User:guest may do nothing with them/", '/kafka-acls\.sh/');
        $text = "/group $this->group: User:guest may not read as this group/";
        $report->expect('error', 'acl', $text, "/--operation Read --group $this->group/");
        $report->expect('skipped', 'group', '/User:guest may not read as group/');
        $text = $this->ask('', ['KAFKA_SASL_USERNAME' => 'guest', 'KAFKA_SASL_PASSWORD' => 'guest-password'])->stdout;
        self::assertStringNotContainsString('guest-password', $text);
    }

    public function testAUserWithReadAccessOnly(): void
    {
        $this->send('user.1');
        $allow = ['--allow-principal', 'User:guest', '--operation', 'Read', '--resource-pattern-type', 'prefixed'];
        self::kafka()->acl(...$allow, ...['--topic', $this->prefix, '--group', $this->group]);
        $env = ['KAFKA_SASL_USERNAME' => 'guest', 'KAFKA_SASL_PASSWORD' => 'guest-password'];
        self::eventually(function () use ($env, &$report): bool {
            $report = $this->doctor('--channels=user.1', $env);

            return in_array('warning', $report->levels('acl'), true);
        }, 'the ACL takes effect');
        $report->expect('warning', 'acl', '/User:guest may not write: .*sufficient for consuming/', '/--operation Write/');
        $letters = '/dlq\..* cannot be created by User:guest: the first message that fails permanently stops its worker/';
        $report->expect('error', 'acl', $letters, '/--operation Create --operation Write/');
        // Without access to the topic configuration, which is not an error.
        self::assertSame(['ok'], $report->levels('topics'), $report->result->describe());
    }

    public function testTopicsThatAreMissingOrDifferent(): void
    {
        $this->send('user.1');
        $users = $this->createTopicHere('users');
        $this->configure("['topic_strategy' => 'grouped', 'auto_create_topics' => false, 'topic_mapping' => ["
            . "'user.*' => ['topic' => '$users', 'partitions' => 3], 'order.*' => '$this->prefix.orders']]");
        $report = $this->doctor();
        $report->expect('error', 'topics', "/topic $this->prefix\\.orders: is missing \\(order\\.\\*\\)/", '/realtime:topics:create/');
        $report->expect('warning', 'topics', "/topic $users: has 1 partition, 3 wanted/", '/--grow/');
        $text = "/topic {$this->channelTopic('usr.1')}: does not exist, and auto_create_topics is off/";
        $this->configure("['auto_create_topics' => false]");
        $this->doctor('--channels=usr.1')->expect('error', 'topics', $text, '/--create/');
        unlink("$this->app/config/realtime.php");
        $report = $this->doctor('--channels=user.1,usr.1');
        $found = "/topic {$this->channelTopic('usr.1')}: does not exist: .*there is {$this->channelTopic('user.1')}/";
        $report->expect('warning', 'topics', $found, '/the same as in the publisher/');
    }

    private function createTopicHere(string $name): string
    {
        $topic = "$this->prefix.$name";
        $admin = new \Toporia\Realtime\Admin($this->config());
        $admin->createTopic($topic, 1);
        $admin->close();

        return $topic;
    }

    public function testAGroupWithoutMembers(): void
    {
        $report = $this->doctor('--group=g-none-' . $this->group);
        $report->expect('warning', 'group', '/does not exist: no worker has ever committed offsets in it/', '/realtime:kafka:consume/');
        // A group that has worked and is gone while more messages arrive.
        $this->send('user.1');
        $broker = $this->broker();
        $broker->subscribe('user.1', static function (): void {
        })->consume(stopWhenEmpty: true);
        $broker->close();
        $report = $this->doctor();
        $report->expect('warning', 'group', '/has no members: nothing is consumed/');
        $report->expect('ok', 'lag', '/none: all records are handled/');
        $this->send('user.1', 'user.1');
        $report = $this->doctor();
        $finding = $report->expect(
            'error',
            'lag',
            '/2 messages wait in .*, the oldest for (?:\d+|< 1) s, and nothing is consumed/',
            '/Start a worker/',
        );
        self::assertSame(2, $finding['lag']);
    }

    public function testMembersThatSubscribeDifferently(): void
    {
        $this->send('user.1', 'user.2');
        foreach (['user.1', 'user.2'] as $channel) {
            $worker = $this->startConsole(['realtime:kafka:consume', "--channels=$channel", '--max-time=60']);
            $worker->waitForOutput('/assigned: /', 20.0);
        }
        $report = $this->doctor();
        $text = "/its members subscribe to different topics: .*{$this->prefix}_user_[12].* \\| /";
        $report->expect('warning', 'group', $text, '/the same --channels/');
        $report->expect('ok', 'group', '/2 members on 1 host/');
    }

    public function testDeadLetters(): void
    {
        $this->send('user.1');
        $broker = $this->broker();
        $broker->send('dlq.' . $this->channelTopic('user.1'), 'x');
        Realtime::flush();
        $finding = $this->doctor()->expect('warning', 'dead-letters', '/1 message could not be handled/', '/realtime:dlq:list --topic=/');
        self::assertSame(1, $finding['count']);
    }

    public function testASpoolThatIsUnusableOrHasFailures(): void
    {
        touch("$this->app/file");
        $report = $this->doctor('', ['REALTIME_SPOOL' => "$this->app/file/spool"]);
        $report->expect(
            'error',
            'spool',
            '/cannot be created: .*file is not a directory: messages that Kafka does not accept are lost/',
            '/mkdir -p/',
        );
        // Messages of a process that did not reach Kafka, an hour ago; others that Kafka will never accept.
        $this->runPhp(
            'Realtime::broadcast("user.1", "paid", 1); Realtime::broadcast("user.1", "paid", 2);',
            ['env' => ['KAFKA_BROKERS' => '127.0.0.1:1', 'REALTIME_SPOOL' => "$this->app/spool"],
                'ini' => ['toporia_realtime.shutdown_flush_ms' => '0']]
        )->assertExit();
        $file = glob("$this->app/spool/*/*.spool")[0] ?? '';
        self::assertFileExists($file);
        $this->doctor()->expect(
            'warning',
            'spool',
            '/2 messages wait in .* does not send them: they are for 127\.0\.0\.1:1 \(cluster not known\)/',
            '/realtime:spool --adopt=default-/'
        );
        self::assertSame(0, $this->runConsole(
            ['realtime:spool', '--adopt=' . basename(dirname($file))],
            ['cwd' => $this->app, 'env' => ['REALTIME_SPOOL' => "$this->app/spool"]]
        )->exitCode);
        $this->doctor()->expect('ok', 'spool', '/2 messages wait in .*sent by the next process that can reach Kafka/');
        $old = sprintf('%s/%020d-1.spool', dirname($file), (time() - 3600) * 1_000_000_000);
        rename($file, $old);
        mkdir(dirname($file) . '/failed');
        file_put_contents(dirname($file) . '/failed/1.jsonl', "{\"reason\":\"too large\"}\n");
        $report = $this->doctor();
        $report->expect('warning', 'spool', '/2 messages wait in .*, the oldest for 36\d\d s/', '/realtime:kafka:publish/');
        $report->expect('error', 'spool', '/1 message can never be sent/', '/failed\/\*\.jsonl/');
    }

    public function testAnOutboxWithoutARelay(): void
    {
        $file = "$this->app/outbox.sqlite";
        $env = ['REALTIME_OUTBOX_DSN' => "sqlite:$file"];
        $this->doctor('', $env)->expect('error', 'outbox', '/cannot be read/', '/realtime:outbox:table/');
        $this->runConsole(['realtime:outbox:table'], ['env' => $env, 'cwd' => $this->app])->assertExit();
        $this->doctor('', $env)->expect('ok', 'outbox', '/empty/');
        $pdo = new PDO("sqlite:$file");
        $pdo->beginTransaction();
        (new Outbox($pdo))->add('user.1', 'paid', 1);
        $pdo->commit();
        $pdo->exec('UPDATE realtime_outbox SET created_at = created_at - 3600000');
        $report = $this->doctor('', $env);
        $report->expect('error', 'outbox', '/1 row waits, the oldest for 36\d\d s/', '/realtime:outbox:relay/');
    }

    public function testTheGateway(): void
    {
        $keys = ['REALTIME_APP_ID' => '1', 'REALTIME_APP_KEY' => 'key', 'REALTIME_OPS_LISTEN' => '127.0.0.1:' . self::freePort()];
        $weak = $this->doctor('', $keys + ['REALTIME_APP_SECRET' => 'tooshort']);
        $weak->expect('error', 'gateway', '/shorter than 32 characters/', '/openssl rand -hex 32/');
        self::assertStringNotContainsString('tooshort', $weak->result->stdout);
        $keys['REALTIME_APP_SECRET'] = self::SECRET;
        $report = $this->doctor('', $keys + ['REALTIME_ALLOWED_ORIGINS' => 'shop.example']);
        $report->expect('error', 'gateway', '/allowed_origins: "shop\.example" is not an origin/', '/no gateway starts/');
        $report = $this->doctor('', $keys + ['REALTIME_ALLOWED_ORIGINS' => 'null', 'REALTIME_GATEWAY_HOST' => '0.0.0.0']);
        $report->expect('warning', 'gateway', '/listens on 0\.0\.0\.0 directly, without TLS/', '/TRUSTED_PROXIES/');
        $report->expect('warning', 'gateway-running', '/none on this machine/', '/realtime:gateway/');
        self::assertStringNotContainsString(self::SECRET, $report->result->stdout);
        // And a group that is running.
        $gateway = new Gateway(['app_id' => '1', 'key' => 'key', 'secret' => self::SECRET, 'port' => 0,
            'ops_listen' => $keys['REALTIME_OPS_LISTEN'], 'broker' => $this->config(), 'max_connections' => 100]);
        $gateway->start();
        self::eventually(static fn (): bool => $gateway->stats()['ready'] === true, 'the gateway is ready', 20.0);
        $report = $this->doctor('', $keys + ['REALTIME_ALLOWED_ORIGINS' => 'https://shop.example']);
        $report->expect('ok', 'gateway', '/key and secret are valid; listens on 127\.0\.0\.1:6001, one origin/');
        $report->expect('ok', 'gateway-running', '~is ready \(http://127\.0\.0\.1:\d+/ready\)~');
        $gateway->stop(0);
    }

    public function testWorkersThatAreStuckOrGone(): void
    {
        $this->send('user.1');
        $address = '127.0.0.1:' . self::freePort();
        $env = ['REALTIME_METRICS' => $address];
        $this->doctor('', $env)->expect('warning', 'monitoring', '/worker: none responds at/', '/realtime:kafka:consume/');
        $worker = $this->startPhp("
            Realtime::configure(['liveness_timeout_ms' => 1000]);
            Toporia\\Realtime\\Metrics::serve('$address');
            Realtime::broker()->subscribe('user.1', function (): void {
                echo 'handling';
                sleep(40);
            })->consume();");
        $worker->waitForOutput('/handling/', 20.0);
        self::eventually(function () use ($env, &$report): bool {
            $report = $this->doctor('', $env);

            return in_array('error', $report->levels('monitoring'), true);
        }, 'the worker is found stuck', 20.0);
        $report->expect('error', 'monitoring', '/worker: /', '/Restart it/');
        touch("$this->app/heartbeat", time() - 300);
        $report = $this->doctor('', ['REALTIME_HEARTBEAT_FILE' => "$this->app/heartbeat", 'REALTIME_METRICS_TEXTFILE' => '/nowhere']);
        $report->expect('warning', 'monitoring', '/heartbeat was last touched 30\d s ago: its worker is stuck, or gone/', '/restart/');
        $report->expect('warning', 'monitoring', '~/nowhere is not a directory~', '/textfile\.directory/');
    }

    public function testMembersWithDifferentListsOfChannels(): void
    {
        $this->configure("['topic_strategy' => 'grouped', 'topic_mapping' => ['user.*' => ['topic' => '$this->prefix.users', "
            . "'partitions' => 2]], 'commit_interval_ms' => 100]");
        $options = ['cwd' => $this->app, 'env' => ['REALTIME_SPOOL' => 'off']];
        $publish = fn (string $channel) => $this->runConsole(['realtime:kafka:publish', $channel, 'paid', '1'], $options)->assertExit();
        $publish('user.1');
        foreach (['user.1', 'user.2'] as $channel) {
            $worker = $this->startConsole(['realtime:kafka:consume', "--channels=$channel", '--max-time=90'], $options);
            $worker->waitForOutput('/assigned: /', 20.0);
        }
        // Enough channels for both partitions, so that each worker commits.
        self::eventually(function () use ($publish, &$report): bool {
            foreach (range(1, 4) as $n) {
                $publish('user.' . random_int(1, 1000));
            }
            $report = $this->doctor();

            return in_array('warning', $report->levels('group'), true);
        }, 'both have committed', 40.0);
        $report->expect('warning', 'group', '/with 2 different lists of channels/', '/the same --channels/');
    }

    public function testSettingsThatAreRefusedOrQuestionable(): void
    {
        $this->configure("['brokers' => ['kafka' => ['consumer_grup' => 'x', 'topic_prefix' => '$this->prefix']], 'spol' => '/x',"
            . " 'gateway' => ['prt' => 1], 'acks' => '1']");
        $report = $this->doctor();
        $report->expect('error', 'configuration', "/unknown setting 'consumer_grup' in realtime\\.brokers\\.kafka/", "/'consumer_group'/");
        $report->expect('error', 'configuration', "/unknown setting 'spol' in the realtime configuration/", "/'spool'/");
        $report->expect('error', 'configuration', "/unknown setting 'prt' in realtime\\.gateway/", "/'port'/");
        $report->expect('warning', 'configuration', '/acks=1 .*: after a broker failure messages can be lost/', '/\'all\'/');
        self::assertSame(['ok'], $report->levels('client'), 'The rest is looked at without them.');

        $this->configure("['acks' => '1', 'delivery' => 'exactly-once']");
        $report = $this->doctor();
        $report->expect('error', 'configuration', "/acks=1 contradicts delivery 'exactly-once'/");
        $report->expect('skipped', 'client', '/the configuration is rejected/');

        $this->configure("['delivery' => 'at-most-once', 'dlq' => true]");
        $text = '/dlq has no effect: delivery is at-most-once, which neither retries nor writes dead letters/';
        $this->doctor()->expect('warning', 'configuration', $text);

        file_put_contents("$this->app/config/realtime.php", '<?php return not_there();');
        $report = $this->doctor();
        $report->expect('error', 'configuration', '/realtime\.php failed: Call to undefined function not_there\(\)/');
        self::assertSame(['ok'], $report->levels('client'), 'The environment is enough for that.');
    }

    public function testSecretsThatAreWorldReadable(): void
    {
        file_put_contents("$this->app/.env", "KAFKA_SASL_PASSWORD=shop-password\n");
        chmod("$this->app/.env", 0644);
        $report = $this->doctor();
        $report->expect('warning', 'files', '/\.env: contains a password or secret and can be read by every user/', '/chmod o-r/');
        self::assertStringNotContainsString('shop-password', $report->result->stdout);
        chmod("$this->app/.env", 0640);
        self::assertNotContains('warning', $this->doctor()->levels('files'));
        $report = $this->doctor('', ['KAFKA_SSL_CA_LOCATION' => "$this->app/no.pem"]);
        $report->expect('error', 'files', '/security\.ca: there is no .*no\.pem/', '/KAFKA_SSL_CA_LOCATION/');
        $report->expect('skipped', 'brokers', '/security\.ca cannot be read/');
    }
}
