<?php

declare(strict_types=1);

namespace Toporia\Realtime\Security;

use Closure;
use Toporia\Realtime\Exception\ConfigurationException;

/**
 * `security.token => 'aws-msk-iam'`: tokens for IAM access control of Amazon MSK. A token is a presigned request for
 * `kafka-cluster:Connect`. The credentials come from the AWS SDK for PHP (aws/aws-sdk-php): environment, profile, web
 * identity, container or instance.
 */
final class AwsMskIamToken
{
    private const LIFETIME_SECONDS = 900;
    private const USER_AGENT = 'toporia-realtime-msk-iam';

    /** @var (callable(): object)|null */
    private $credentials;

    /**
     * @param string|null $region null: AWS_REGION or AWS_DEFAULT_REGION
     * @param (callable(): object)|null $credentials returns Aws\Credentials\CredentialsInterface, or a promise of it;
     *     null: the default provider of the SDK
     */
    public function __construct(private readonly ?string $region = null, ?callable $credentials = null)
    {
        $this->credentials = $credentials;
    }

    /**
     * @return array{token: string, expires_at: int, principal: string}
     *
     * @throws ConfigurationException no region is set, or the AWS SDK is missing
     */
    public function __invoke(?int $time = null): array
    {
        $time ??= time();
        $region = $this->region ?? (getenv('AWS_REGION') ?: getenv('AWS_DEFAULT_REGION') ?: null);
        if ($region === null) {
            throw new ConfigurationException(
                'security.token \'aws-msk-iam\' needs a region: set security.region or AWS_REGION.'
            );
        }
        $this->credentials ??= self::provider();
        $credentials = ($this->credentials)();
        if (method_exists($credentials, 'wait')) {
            $credentials = $credentials->wait();
        }
        $expires = self::LIFETIME_SECONDS;
        $until = method_exists($credentials, 'getExpiration') ? $credentials->getExpiration() : null;
        if (is_numeric($until)) {
            $expires = max(1, min($expires, (int) $until - $time));
        }
        $url = PresignedUrl::of(
            "kafka.$region.amazonaws.com",
            'kafka-cluster',
            $region,
            ['Action' => 'kafka-cluster:Connect'],
            $credentials->getAccessKeyId(),
            $credentials->getSecretKey(),
            $credentials->getSecurityToken() ?: null,
            $time,
            $expires
        );
        // Not part of the signature, as in the signers of AWS.
        $url .= '&User-Agent=' . self::USER_AGENT;

        return [
            'token' => rtrim(strtr(base64_encode($url), '+/', '-_'), '='),
            'expires_at' => $time + $expires,
            'principal' => $credentials->getAccessKeyId(),
        ];
    }

    private static function provider(): callable
    {
        $class = 'Aws\Credentials\CredentialProvider';
        if (!class_exists($class)) {
            throw new ConfigurationException(
                'security.token \'aws-msk-iam\' needs the AWS SDK for PHP: composer require aws/aws-sdk-php.'
            );
        }

        return Closure::fromCallable([$class, 'defaultProvider'])();
    }
}
