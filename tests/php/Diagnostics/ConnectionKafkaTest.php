<?php

/**
 * realtime:doctor, connection to Kafka: the findings for a healthy system, and for every step that can fail.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Diagnostics;

use PHPUnit\Framework\Attributes\DataProvider;
use Toporia\Realtime\Realtime;
use Toporia\Realtime\Tests\Security\SecureTestCase;
use Toporia\Realtime\Tests\Support\RunsDoctor;

final class ConnectionKafkaTest extends SecureTestCase
{
    use RunsDoctor;

    private const WRONG = 'Wr0ng-and-s3cret';

    public function testAHealthySystem(): void
    {
        Realtime::broadcast('user.1', 'paid', 1);
        Realtime::flush();
        $this->consumeAll($this->channelTopic('user.1'), 1);
        $report = $this->doctor('--write');
        self::assertSame(0, $report->summary['error'], $report->result->describe());
        self::assertSame(0, $report->result->exitCode);
        $brokers = '/broker 127[\d.:]+: TCP \d+ ms, TLSv1\.3, certificate valid until [\d-]+, SCRAM-SHA-512 as shop, responds/';
        $report->expect('ok', 'brokers', $brokers);
        $report->expect('ok', 'advertised', '/one broker, reachable at advertised\.listeners/');
        $report->expect('ok', 'certificates', '/valid until/');
        $report->expect('ok', 'client', '/connects as the application does/');
        $report->expect('ok', 'topics', "/{$this->channelTopic('user.1')}: \\d+ partitions, all with a leader/");
        $report->expect('ok', 'acl', '/User:shop may read and write the topic/');
        $report->expect('ok', 'dead-letters', '/none/');
        $report->expect('ok', 'round-trip', "/a record was written to $this->prefix\\.__doctor in \\d+ ms and read back/");
        $report->expect('ok', 'round-trip', '/clock: agrees with the broker that stamped the record/');
        $report->expect('ok', 'spool', '/is created when the first message needs it/');
    }

    public function testTextReport(): void
    {
        $text = $this->ask('', ['KAFKA_SASL_PASSWORD' => self::WRONG])->assertExit(1)->stdout;
        self::assertStringContainsString("\nBrokers\nerror      broker ", $text);
        self::assertMatchesRegularExpression('/SASL fails: the broker rejects the user shop with SCRAM-SHA-512: wrong user/', $text);
        self::assertStringContainsString('           → Check security.username and security.password (KAFKA_SASL_USERNAME', $text);
        self::assertMatchesRegularExpression('/^Skipped because the broker [\d.:]+ cannot be reached: .*acl, topics, group/m', $text);
        self::assertMatchesRegularExpression('/^Errors found: \d+ ok, .*1 error, \d+ skipped, in [\d.]+ s\.$/m', $text);
        self::assertStringNotContainsString(self::WRONG, $text);
    }

    public function testStrictCountsWarnings(): void
    {
        $env = ['REALTIME_SPOOL' => null];
        $this->doctor('', $env)->expect('warning', 'configuration', '/spool is not set/', '/REALTIME_SPOOL/');
        self::assertSame(0, $this->ask('', $env)->exitCode);
        self::assertSame(1, $this->ask('--strict', $env)->exitCode);
        self::assertSame(2, $this->ask('--timeout=soon')->exitCode);
        self::assertSame(2, $this->ask('--channels=,')->exitCode);
        $result = $this->ask('--broker=nobody')->assertExit(2);
        self::assertStringContainsString('--broker=nobody is not in realtime.brokers: kafka', $result->stderr);
    }

    /** @return array<string, array{string, array<string, string>, string, string, string}> listener, environment, step, text, remedy */
    public static function brokenWays(): array
    {
        return [
            'wrong password' => ['sasl_ssl', ['KAFKA_SASL_PASSWORD' => self::WRONG], 'SASL', '/wrong user name or password/',
                '/kafka-configs\.sh .*--entity-name shop/'],
            'wrong password, PLAIN' => ['sasl_ssl', ['KAFKA_SASL_PASSWORD' => self::WRONG, 'KAFKA_SASL_MECHANISM' => 'PLAIN'],
                'SASL', '/wrong user name or password/', '/JAAS/'],
            'no such user' => ['sasl_ssl', ['KAFKA_SASL_USERNAME' => 'nobody'], 'SASL', '/rejects the user nobody/', '/USERNAME/'],
            'wrong mechanism' => ['sasl_plaintext', ['KAFKA_SASL_MECHANISM' => 'PLAIN'], 'SASL',
                '/does not offer PLAIN here; it offers: SCRAM-SHA-512/', '/KAFKA_SASL_MECHANISM\) to SCRAM-SHA-512/'],
            'expired certificate' => ['expired', [], 'TLS', '/kafka-expired, issued by Test ca.* expired on .* ago/', '/Renew/'],
            'certificate of another host' => ['other_host', [], 'TLS', '/for kafka\.elsewhere\.example, not for 127\.0\.0\.1/',
                '/subjectAltName/'],
            'an untrusted authority' => ['ssl', ['KAFKA_SSL_CA_LOCATION' => 'other_ca'], 'TLS', '/not signed by a trusted authority/',
                '/KAFKA_SSL_CA_LOCATION/'],
            'no certificate where one is wanted' => ['mutual', ['KAFKA_SSL_CERTIFICATE_LOCATION' => '', 'KAFKA_SSL_KEY_LOCATION' => ''],
                'TLS', '/closes the connection .*requires a client certificate/',
                '/security\.key/'],
            'TLS where none is spoken' => ['lost', ['KAFKA_SECURITY_PROTOCOL' => 'SSL'], 'TLS', '/does not use TLS/', '/plaintext/'],
            'no TLS where it is spoken' => ['ssl', ['KAFKA_SECURITY_PROTOCOL' => ''], 'API', '/this port uses TLS/',
                '/Set it to ssl/'],
            'no user where one is wanted' => ['sasl_plaintext', ['KAFKA_SECURITY_PROTOCOL' => '', 'KAFKA_SASL_USERNAME' => ''],
                'SASL', '/closes connections without authentication/', '/Set it to sasl_plaintext/'],
            'nothing listens' => ['', ['KAFKA_BROKERS' => '127.0.0.1:1'], 'TCP', '/refuses connections to port 1/', '/Start the broker/'],
            'a name that does not resolve' => ['', ['KAFKA_BROKERS' => 'kafka-7.invalid:9092'], 'DNS', '/cannot be resolved/',
                '/getent hosts kafka-7\.invalid/'],
        ];
    }

    /**
     * @dataProvider brokenWays
     *
     * @param array<string, string> $env
     */
    #[DataProvider('brokenWays')]
    public function testAStepThatFailsIsNamed(string $listener, array $env, string $step, string $text, string $remedy): void
    {
        $way = $listener === '' ? [] : self::kafka()->environment($listener);
        if (isset($env['KAFKA_SSL_CA_LOCATION'])) {
            $env['KAFKA_SSL_CA_LOCATION'] = self::kafka()->of($env['KAFKA_SSL_CA_LOCATION']);
        }
        $report = $this->doctor('', $env + $way);
        self::assertSame(1, $report->result->exitCode);
        $finding = $report->expect('error', 'brokers', $text, $remedy);
        self::assertSame($step, $finding['step']);
        // The other checks run, and those that need Kafka report why they could not.
        $report->expect('skipped', 'topics', '/skipped: the broker .* cannot be reached/');
        self::assertNotSame([], $report->of('descriptors'));
        foreach ([self::WRONG, 'shop-password'] as $secret) {
            self::assertStringNotContainsString($secret, $report->result->stdout . $report->result->stderr);
        }
    }

    public function testOneOfTwoAddressesIsEnoughForAWarning(): void
    {
        $report = $this->doctor('', ['KAFKA_BROKERS' => '127.0.0.1:1,' . self::kafka()->of('sasl_ssl')]);
        $report->expect('warning', 'brokers', '/127\.0\.0\.1:1: TCP fails: .*others in the list respond/');
        self::assertSame(0, $report->result->exitCode, $report->result->describe());
        self::assertContains('ok', $report->levels('client'));
    }

    public function testAdvertisedListenersThatLeadNowhere(): void
    {
        $env = ['KAFKA_BROKERS' => self::kafka()->of('lost'), 'KAFKA_SECURITY_PROTOCOL' => null];
        $report = $this->doctor('', $env + array_fill_keys(array_keys(self::kafka()->environment()), null));
        self::assertSame(['ok'], $report->levels('brokers'));
        $report->expect(
            'error',
            'advertised',
            '/broker 1: tells clients to connect to kafka-7\.invalid:\d+ \(advertised\.listeners\), but from here DNS fails/',
            '/Set advertised\.listeners of that broker/'
        );
        $report->expect('skipped', 'client', '/no broker can be reached at its advertised address/');
    }

    public function testACertificateThatExpiresSoon(): void
    {
        $env = array_fill_keys(array_keys(self::kafka()->environment()), null);
        $report = $this->doctor('', self::kafka()->environment('ending') + $env);
        $report->expect('warning', 'certificates', '/expires in [45] days, on 20/', '/Renew/');
        self::assertSame(0, $report->result->exitCode, $report->result->describe());
    }

    public function testAClockThatIsOff(): void
    {
        $env = ['KAFKA_BROKERS' => self::kafka()->of('plain')] + array_fill_keys(array_keys(self::kafka()->environment()), null);
        $library = glob('/usr/lib/*/faketime/libfaketime.so.1')[0] ?? null;
        self::assertNotNull($library, 'libfaketime is missing. Install it: make setup');
        // Only the child's wall clock: it stands for a machine with a wrong clock.
        $fake = ['LD_PRELOAD' => $library, 'FAKETIME_DONT_FAKE_MONOTONIC' => '1'];
        $report = $this->doctor('--write', ['FAKETIME' => '+1h'] + $fake + $env);
        $report->expect(
            'error',
            'round-trip',
            '/clock: this machine is (?:1 h|59 min \d+ s) ahead of the broker that stamped the record/',
            '/timedatectl/'
        );
        $report = $this->doctor('--write', ['FAKETIME' => '-8s'] + $fake);
        $text = '/clock: this machine is [6-9] s behind the broker that stamped/';
        $report->expect('warning', 'round-trip', $text, '/date -u/');
        $this->doctor('', $env)->expect('skipped', 'round-trip', '/--write .* compares the clocks/');
    }

    public function testWithoutTheExtensionItNamesTheRemedy(): void
    {
        $report = $this->doctor('', [], ['extension' => false, 'ini' => ['toporia_realtime_rerun' => '1']]);
        $report->expect('error', 'extension', '/is not loaded/', '/make install|pie install|extension=/');
        // Checks that need no extension still run.
        self::assertNotSame([], $report->of('descriptors'));
        foreach (['brokers', 'topics', 'spool'] as $check) {
            $report->expect('skipped', $check, '/the extension is not loaded/');
        }
        self::assertSame(1, $report->result->exitCode);
    }
}
