<?php

/**
 * Base of the tests on the Kafka with TLS, SASL and ACLs; a test is the user shop over TLS unless it says otherwise.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Security;

use Toporia\Realtime\Tests\Support\BrokerTestCase;
use Toporia\Realtime\Tests\Support\SecureKafka;

abstract class SecureTestCase extends BrokerTestCase
{
    protected static function kafka(): SecureKafka
    {
        return SecureKafka::shared();
    }

    /**
     * @param array<string, mixed> $config
     *
     * @return array<string, mixed>
     */
    protected function config(array $config = []): array
    {
        $config['consumer_config'] = ($config['consumer_config'] ?? []) + ['session.timeout.ms' => 6000];

        return $config + ['topic_prefix' => $this->prefix, 'consumer_group' => $this->group] + self::kafka()->settings();
    }

    /** @return array<string, string|null> */
    protected function childEnvironment(): array
    {
        return self::kafka()->environment() + [
            'KAFKA_TOPIC_PREFIX' => $this->prefix,
            'KAFKA_CONSUMER_GROUP' => $this->group,
        ];
    }
}
