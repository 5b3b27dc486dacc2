<?php

/**
 * Tokens for Amazon MSK: the signatures of AWS's published example and of its own signer, and the shape of a token.
 */

declare(strict_types=1);

namespace Toporia\Realtime\Tests\Security;

use PHPUnit\Framework\Attributes\DataProvider;
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

    /**
     * Made with aws-msk-iam-sasl-signer-js 1.0.3, its clock set to the same second.
     *
     * @return iterable<string, array{string, string|null, string}>
     */
    public static function tokensOfTheSignerOfAws(): iterable
    {
        yield 'user' => ['eu-west-1', null, '26794ad200e10e2e7b4c6228b6953ca4aaa8dfc38515ae16882689fcb5f066a9'];
        yield 'role' => [
            'eu-west-1', 'session/+=~ é', '07e06fe71620a18c3283426090129de3ca250f678b19a07e5ef918c07fed08b0',
        ];
        yield 'China' => ['cn-north-1', null, '94b24c50d84db72f5ecdc371ef065ce2e41f676f0647d54cd9543b12d4077287'];
        yield 'role in China' => [
            'cn-north-1', 'session/+=~ é', 'fa5cc581d39b9f2b753cfe8b41f856ff790892c7b1386e50d4575672c0c8d3b4',
        ];
    }

    /** @dataProvider tokensOfTheSignerOfAws */
    #[DataProvider('tokensOfTheSignerOfAws')]
    public function testATokenHasTheFieldsAndTheSignatureOfTheSignerOfAws(
        string $region,
        ?string $session,
        string $signature
    ): void {
        $key = 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY';
        $credentials = new class ($key, $session) {
            public function __construct(private string $key, private ?string $session)
            {
            }

            public function getAccessKeyId(): string
            {
                return 'AKIDEXAMPLE';
            }

            public function getSecretKey(): string
            {
                return $this->key;
            }

            public function getSecurityToken(): ?string
            {
                return $this->session;
            }
        };
        $token = (new AwsMskIamToken($region, static fn (): object => $credentials))(1_700_000_000);
        $url = (string) base64_decode(strtr($token['token'], '-_', '+/'), true);
        self::assertStringStartsWith("https://kafka.$region.amazonaws.com/?", $url);
        $fields = explode('&', (string) parse_url($url, PHP_URL_QUERY));
        $expected = [
            'Action=kafka-cluster%3AConnect',
            'User-Agent=toporia-realtime-msk-iam',
            'X-Amz-Algorithm=AWS4-HMAC-SHA256',
            "X-Amz-Credential=AKIDEXAMPLE%2F20231114%2F$region%2Fkafka-cluster%2Faws4_request",
            'X-Amz-Date=20231114T221320Z',
            'X-Amz-Expires=900',
            "X-Amz-Signature=$signature",
            'X-Amz-SignedHeaders=host',
            ...($session === null ? [] : ['X-Amz-Security-Token=session%2F%2B%3D~%20%C3%A9']),
        ];
        self::assertEqualsCanonicalizing($expected, $fields);
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
