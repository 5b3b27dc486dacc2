<?php

/**
 * A minimal Kafka protocol client for a single broker.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Diagnostics\Wire;

/**
 * Needed because librdkafka reports neither the failed step of a broker nor a broker's clock. It sends a handful of
 * read-only requests and no data.
 */
final class ProtocolClient
{
    private const OFFSET_FETCH = 9;
    private const METADATA = 3;
    private const FIND_COORDINATOR = 10;
    private const DESCRIBE_GROUPS = 15;
    private const SASL_HANDSHAKE = 17;
    private const API_VERSIONS = 18;
    private const SASL_AUTHENTICATE = 36;
    private const CREATE_TOPICS = 19;
    private const DESCRIBE_QUORUM = 55;
    private const CONSUMER_GROUP_HEARTBEAT = 68;
    private const CONSUMER_GROUP_DESCRIBE = 69;
    private const UNSUPPORTED_VERSION = 35;
    private const TOPIC_REFUSED = 29;
    private const CLUSTER_REFUSED = 31;
    private const EXISTS = 36;

    public function __construct(private Connection $connection)
    {
    }

    /**
     * The supported API versions; brokers answer this request before authentication.
     *
     * @return array<int, int> highest version by API key
     */
    public function versions(): array
    {
        $response = $this->connection->request(self::API_VERSIONS, 0);
        $response->int16();
        $versions = [];
        $response->each(static function (Bytes $bytes) use (&$versions): void {
            $api = $bytes->int16();
            $bytes->int16();
            $versions[$api] = $bytes->int16();
        });

        return $versions;
    }

    /**
     * Authenticates; throws if the broker rejects the credentials.
     */
    public function authenticate(Security $security): void
    {
        $response = $this->connection->request(self::SASL_HANDSHAKE, 1, Bytes::string($security->mechanism));
        $error = $response->int16();
        $offered = $response->each(static fn (Bytes $bytes): string => (string) $bytes->text());
        if ($error !== 0) {
            $list = implode(', ', $offered);
            throw new WireException(
                WireException::SASL,
                "the broker does not offer $security->mechanism here; it offers: " . ($list === '' ? 'nothing' : $list),
                $list === '' ? 'Enable SASL on this listener (sasl.enabled.mechanisms), or use another port.'
                    : 'Set security.mechanism (KAFKA_SASL_MECHANISM) to ' . implode(' or ', $offered) . '.'
            );
        }
        $user = (string) $security->username;
        if ($security->mechanism === 'PLAIN') {
            $this->token("\0$user\0$security->password", $security);

            return;
        }
        if ($security->mechanism === 'OAUTHBEARER' && $security->token !== null) {
            $this->bearer($security->token);

            return;
        }
        $hash = ['SCRAM-SHA-256' => 'sha256', 'SCRAM-SHA-512' => 'sha512'][$security->mechanism] ?? null;
        if ($hash === null) {
            throw new WireException(WireException::SASL, "$security->mechanism is not supported by the doctor");
        }
        $scram = new Scram($hash, $user, (string) $security->password);
        $final = $scram->final($this->token($scram->first(), $security));
        $scram->verify($this->token($final, $security));
    }

    /**
     * The cluster metadata.
     *
     * @return array{id: ?string, controller: int, brokers: list<array{id: int, host: string, port: int, rack: ?string}>}
     */
    public function cluster(): array
    {
        $response = $this->connection->request(self::METADATA, 2, Bytes::list([]));
        $brokers = $response->each(static fn (Bytes $bytes): array => [
            'id' => $bytes->int32(),
            'host' => (string) $bytes->text(),
            'port' => $bytes->int32(),
            'rack' => $bytes->text(),
        ]);

        return ['id' => $response->text(), 'controller' => $response->int32(), 'brokers' => $brokers];
    }

    /**
     * The coordinator of a group or a transactional id.
     *
     * @return array{error: int, host: string, port: int} error: Kafka's error code, or 0
     */
    public function coordinator(string $key, bool $ofTransaction = false): array
    {
        $body = Bytes::string($key) . chr($ofTransaction ? 1 : 0);
        $response = $this->connection->request(self::FIND_COORDINATOR, 1, $body);
        $response->int32();
        $error = $response->int16();
        $response->text();
        $response->int32();

        return ['error' => $error, 'host' => (string) $response->text(), 'port' => $response->int32()];
    }

    /**
     * True if this user may create a topic; uses a validate-only request.
     *
     * @return bool|null null: unknown
     */
    public function mayCreate(string $topic): ?bool
    {
        $one = Bytes::string($topic) . pack('Nn', 1, 1) . Bytes::list([]) . Bytes::list([]);
        $response = $this->connection->request(self::CREATE_TOPICS, 2, Bytes::list([$one]) . pack('N', 5000) . "\x01");
        $response->int32();
        $errors = $response->each(static function (Bytes $bytes): int {
            $bytes->text();
            $error = $bytes->int16();
            $bytes->text();

            return $error;
        });

        return match ($errors[0] ?? null) {
            0, self::EXISTS => true,
            self::TOPIC_REFUSED, self::CLUSTER_REFUSED => false,
            default => null,
        };
    }

    /**
     * The subscribed topics of each member of a group; must be sent to its coordinator.
     *
     * @return array<string, list<string>> by member
     */
    public function subscriptions(string $group): array
    {
        $response = $this->connection->request(self::DESCRIBE_GROUPS, 1, Bytes::list([Bytes::string($group)]));
        $response->int32();
        $members = [];
        $response->each(static function (Bytes $bytes) use (&$members): void {
            $bytes->int16();
            foreach (range(1, 4) as $ignored) {
                $bytes->text();
            }
            $bytes->each(static function (Bytes $bytes) use (&$members): void {
                $member = (string) $bytes->text();
                $bytes->text();
                $bytes->text();
                $about = $bytes->binary();
                $bytes->binary();
                if (strlen($about) > 6) {
                    $subscription = new Bytes($about);
                    $subscription->int16();
                    $topics = $subscription->each(static fn (Bytes $bytes): string => (string) $bytes->text());
                    sort($topics);
                    $members[$member] = $topics;
                }
            });
        });

        return $members;
    }

    /**
     * The commit metadata of a group; must be sent to its coordinator.
     *
     * @return array<string, array<int, string>> by topic and partition
     */
    public function commitMetadata(string $group): array
    {
        $everything = pack('N', 0xffffffff);
        $response = $this->connection->request(self::OFFSET_FETCH, 2, Bytes::string($group) . $everything);
        $notes = [];
        $response->each(static function (Bytes $bytes) use (&$notes): void {
            $topic = (string) $bytes->text();
            $bytes->each(static function (Bytes $bytes) use (&$notes, $topic): void {
                $partition = $bytes->int32();
                $bytes->int64();
                $notes[$topic][$partition] = (string) $bytes->text();
                $bytes->int16();
            });
        });

        return $notes;
    }

    /**
     * True if the broker supports time().
     *
     * @param array<int, int> $versions result of versions()
     */
    public function supportsTime(array $versions): bool
    {
        return ($versions[self::DESCRIBE_QUORUM] ?? 0) >= 1;
    }

    /**
     * True if the broker supports `group.protocol=consumer` (KIP-848) and has it enabled.
     */
    public function supportsConsumerProtocol(string $group): bool
    {
        // Kafka before 4.0 has a preview, which librdkafka cannot use.
        if (($this->versions()[self::CONSUMER_GROUP_HEARTBEAT] ?? 0) < 1) {
            return false;
        }
        $request = "\x02" . Bytes::compact($group) . "\0\0";
        $response = $this->connection->request(self::CONSUMER_GROUP_DESCRIBE, 0, $request, true);
        $response->int32();

        return $response->varint() < 2 || $response->int16() !== self::UNSUPPORTED_VERSION;
    }

    /**
     * The clock of the cluster's controller: the time when its log was last up to date, which is now.
     *
     * @return float|null Unix seconds; null without permission, or for another kind of cluster
     */
    public function time(): ?float
    {
        $topic = Bytes::compact('__cluster_metadata') . "\x02" . pack('N', 0) . "\0\0";
        $response = $this->connection->request(self::DESCRIBE_QUORUM, 1, "\x02$topic\0", true);
        if ($response->int16() !== 0) {
            return null;
        }
        $times = [];
        $response->eachCompact(static function (Bytes $bytes) use (&$times): void {
            $bytes->compactText();
            $bytes->eachCompact(static function (Bytes $bytes) use (&$times): void {
                $bytes->int32();
                $bytes->int16();
                $leader = $bytes->int32();
                $bytes->int32();
                $bytes->int64();
                foreach ([true, false] as $voters) {
                    $bytes->eachCompact(static function (Bytes $bytes) use (&$times, $leader, $voters): void {
                        $replica = $bytes->int32();
                        $bytes->int64();
                        $bytes->int64();
                        $caughtUp = $bytes->int64();
                        $bytes->skipTags();
                        if ($voters && $replica === $leader && $caughtUp > 0) {
                            $times[] = $caughtUp / 1000;
                        }
                    });
                }
                $bytes->skipTags();
            });
            $bytes->skipTags();
        });

        return $times[0] ?? null;
    }

    public function close(): void
    {
        $this->connection->close();
    }

    /**
     * OAUTHBEARER (RFC 7628): the broker answers a valid token with an empty message, any other with its reason.
     *
     * @param \Closure(): string $source
     */
    private function bearer(\Closure $source): void
    {
        try {
            $token = $source();
        } catch (\Throwable $error) {
            throw new WireException(
                WireException::SASL,
                'security.token returns no token: ' . $error->getMessage(),
                'Fix the cause that the exception names.'
            );
        }
        $message = "n,,\x01auth=Bearer $token\x01\x01";
        $response = $this->connection->request(self::SASL_AUTHENTICATE, 0, Bytes::blob($message));
        $error = $response->int16();
        $response->text();
        if ($error !== 0 || $response->binary() !== '') {
            throw new WireException(
                WireException::SASL,
                'the broker rejects the token of security.token',
                'Is the token for this cluster (issuer, audience, scope), signed with a key that the broker knows, and '
                    . 'not expired? The reason is in the log of the broker.'
            );
        }
    }

    private function token(string $token, Security $security): string
    {
        $response = $this->connection->request(self::SASL_AUTHENTICATE, 0, Bytes::blob($token));
        $error = $response->int16();
        // Ignore the broker's error text, which may contain anything; the code is sufficient.
        $response->text();
        if ($error !== 0) {
            throw new WireException(
                WireException::SASL,
                "the broker rejects the user $security->username with $security->mechanism: wrong user name or "
                    . "password",
                'Check security.username and security.password (KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD). '
                    . ($security->mechanism === 'PLAIN' ? 'Users for PLAIN are in the JAAS configuration of the broker.'
                        : "Does the user exist? On a broker: kafka-configs.sh --describe --entity-type users "
                        . '--entity-name ' . $security->username)
            );
        }

        return $response->binary();
    }
}
