<?php

/**
 * Writing to the outbox, which a web process does without Kafka and without the extension.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Outbox;

use PDO;
use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Exception\EncodingException;
use Toporia\Realtime\Message;
use Toporia\Realtime\Outbox\Column;
use Toporia\Realtime\Outbox\Outbox;
use Toporia\Realtime\Outbox\OutboxException;
use Toporia\Realtime\Outbox\Platform;
use Toporia\Realtime\Outbox\Schema;
use Toporia\Realtime\Outbox\Settings;

final class OutboxUnitTest extends TestCase
{
    private PDO $pdo;

    protected function setUp(): void
    {
        $this->pdo = new PDO('sqlite::memory:');
        foreach (Schema::create($this->pdo) as $statement) {
            $this->pdo->exec($statement);
        }
    }

    public function testARowHoldsTheWholeMessage(): void
    {
        $this->pdo->beginTransaction();
        $id = (new Outbox($this->pdo))->add('user.1', 'paid', ['é' => 1], 'order-7', ['tenant' => 'acme']);
        $this->pdo->commit();
        $row = $this->pdo->query('SELECT * FROM realtime_outbox')->fetch(PDO::FETCH_ASSOC);
        $message = Message::fromJson($row['payload']);
        self::assertSame([$id, 'user.1', 'paid', ['é' => 1]], [
            $message->getId(), $message->getChannel(), $message->getEvent(), $message->getData(),
        ]);
        self::assertSame('order-7', Column::readString($row['record_key']));
        self::assertSame(['tenant' => 'acme'], Column::readHeaders($row['headers']));
        self::assertSame(crc32('order-7') % 16, (int) $row['shard']);
        self::assertMatchesRegularExpression('/\A[\x20-\x7e]+\z/', $row['payload']);
    }

    public function testOutsideATransactionItRefusesUnlessAllowed(): void
    {
        (new Outbox($this->pdo, requireTransaction: false))->add('user.1', 'a');
        $this->expectException(OutboxException::class);
        (new Outbox($this->pdo))->add('user.1', 'a');
    }

    public function testAMissingTableIsReportedInEveryErrorMode(): void
    {
        foreach ([PDO::ERRMODE_SILENT, PDO::ERRMODE_WARNING, PDO::ERRMODE_EXCEPTION] as $mode) {
            $this->pdo->setAttribute(PDO::ATTR_ERRMODE, $mode);
            try {
                (new Outbox($this->pdo, 'other', requireTransaction: false))->add('user.1', 'a');
                self::fail('It was written nowhere.');
            } catch (OutboxException $e) {
                self::assertStringContainsString('no such table: other', $e->getMessage());
                self::assertStringContainsString('realtime:outbox:table', $e->getMessage());
            }
        }
    }

    public function testUnencodableDataWritesNothing(): void
    {
        try {
            (new Outbox($this->pdo, requireTransaction: false))->add('user.1', 'a', "\xff");
            self::fail('It was encoded.');
        } catch (EncodingException) {
            self::assertSame(0, (int) $this->pdo->query('SELECT COUNT(*) FROM realtime_outbox')->fetchColumn());
        }
    }

    /**
     * @dataProvider impossible
     *
     * @param callable(PDO): mixed $make
     */
    #[DataProvider('impossible')]
    public function testInvalidSettingsAreConfigurationErrors(callable $make): void
    {
        $this->expectException(ConfigurationException::class);
        $make($this->pdo);
    }

    /** @return array<string, array{callable}> */
    public static function impossible(): array
    {
        $add = static fn (PDO $pdo, array $arguments) => (new Outbox($pdo, requireTransaction: false))
            ->add(...$arguments);

        return [
            'a table that is SQL' => [static fn (PDO $pdo) => new Outbox($pdo, 'a; DROP TABLE b')],
            'no shards' => [static fn (PDO $pdo) => new Outbox($pdo, shards: 0)],
            'another driver' => [static fn () => Platform::of('oci')],
            'an event without a name' => [static fn (PDO $pdo) => $add($pdo, ['user.1', ''])],
            'a header without a name' => [static fn (PDO $pdo) => $add($pdo, ['user.1', 'a', null, null, ['' => '1']])],
            'an unknown setting' => [static fn () => Settings::of(['outbox' => ['tabel' => 'x']])],
            'no database' => [static fn () => Settings::of([])->database()],
        ];
    }

    public function testHeadersAndKeysKeepTheirBytes(): void
    {
        $headers = ['a' => "\xff\x00", '7' => 'é', 'empty' => ''];
        self::assertSame($headers, Column::readHeaders(Column::headers($headers)));
        $headers = ['none' => null, 'several' => ['a', null, 'b']];
        self::assertSame($headers, Column::readHeaders(Column::headers($headers)));
        foreach (['', "\x00\xfe", '日本', '"quoted"'] as $key) {
            self::assertSame($key, Column::readString(Column::string($key)));
        }
    }

    public function testTheHeadersOfAReceivedMessageMayBePassedOn(): void
    {
        $received = [
            'own' => 'kept', 'x-realtime-hops' => '3', 'x-realtime-socket' => '1.2', 'x-realtime-public' => '1',
            'x-original-topic' => 'other', 'x-exception-chain' => 'E: e in e.php:1', 'x-attempts' => '4',
            'x-failed-at' => '1', 'x-replays' => '1', 'x-replay-group' => 'g', 'without-value' => null,
        ];
        $kept = ['own' => 'kept', 'x-realtime-socket' => '1.2', 'x-realtime-public' => '1', 'without-value' => null];
        self::assertSame($kept, Column::readHeaders(Column::headers($received)));
        self::assertNull(Column::headers(['x-attempts' => '4']));
    }
}
