<?php

/**
 * Tokens for Amazon MSK: the signature of AWS's published example, and the shape of a token.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Security;

use PHPUnit\Framework\TestCase;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Security\AwsMskIamToken;
use Toporia\Realtime\Security\PresignedUrl;

final class AwsMskIamTokenUnitTest extends TestCase
{
    /** From the documentation of AWS Signature Version 4. */
    public function testTheSignatureOfThePublishedExample(): void
    {
        $url = PresignedUrl::of(
            'iam.amazonaws.com',
            'iam',
            'us-east-1',
            ['Action' => 'ListUsers', 'Version' => '2010-05-08'],
            'AKIDEXAMPLE',
            'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY',
            null,
            (int) gmmktime(12, 36, 0, 8, 30, 2015),
            60,
            ['content-type' => 'application/x-www-form-urlencoded; charset=utf-8']
        );
        self::assertStringEndsWith(
            '&X-Amz-Signature=37ac2f4fde00b0ac9bd9eadeb459b1bbee224158d66e7ae5fcadb70b2d181d02',
            $url
        );
    }

    public function testATokenIsAPresignedConnectRequest(): void
    {
        $credentials = new class () {
            public function getAccessKeyId(): string
            {
                return 'AKID';
            }

            public function getSecretKey(): string
            {
                return 'SECRET';
            }

            public function getSecurityToken(): string
            {
                return 'session/+=';
            }

            public function getExpiration(): int
            {
                return 1_700_000_600;
            }
        };
        $token = (new AwsMskIamToken('eu-west-1', static fn (): object => $credentials))(1_700_000_000);
        self::assertSame(1_700_000_600, $token['expires_at'], 'not longer than the credentials');
        self::assertSame('AKID', $token['principal']);
        self::assertMatchesRegularExpression('/^[\w-]+$/', $token['token']);
        $url = (string) base64_decode(strtr($token['token'], '-_', '+/'), true);
        self::assertStringStartsWith('https://kafka.eu-west-1.amazonaws.com/?Action=kafka-cluster%3AConnect&', $url);
        parse_str((string) parse_url($url, PHP_URL_QUERY), $query);
        self::assertSame('AKID/20231114/eu-west-1/kafka-cluster/aws4_request', $query['X-Amz-Credential']);
        self::assertSame(['session/+=', '600', 'host'], [
            $query['X-Amz-Security-Token'], $query['X-Amz-Expires'], $query['X-Amz-SignedHeaders'],
        ]);
        self::assertSame('toporia-realtime-msk-iam', $query['User-Agent']);
        self::assertStringNotContainsString('SECRET', $url);
    }

    public function testWithoutTheSdkTheErrorNamesThePackage(): void
    {
        self::assertFalse(class_exists('Aws\Credentials\CredentialProvider'));
        $this->expectException(ConfigurationException::class);
        $this->expectExceptionMessage('composer require aws/aws-sdk-php');
        (new AwsMskIamToken('eu-west-1'))();
    }
}
