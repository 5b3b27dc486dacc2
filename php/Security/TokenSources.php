<?php

declare(strict_types=1);

namespace Toporia\Realtime\Security;

use Closure;
use Toporia\Realtime\Exception\ConfigurationException;

/**
 * The token sources that `security.token` can name: OIDC client credentials, AWS MSK IAM, an invokable class. The
 * extension calls token() when a client needs a token for SASL OAUTHBEARER.
 *
 * @phpstan-type Token string|array{token: string, expires_at?: int, lifetime?: int, principal?: string,
 *     extensions?: array<string, string>}
 */
final class TokenSources
{
    /** @var array<string, callable(): mixed> */
    private static array $sources = [];

    /**
     * A new token of the named source.
     *
     * @param string $kind `oidc`, `aws-msk-iam`, or an invokable class or function
     * @param array<string, string> $settings `security.*` without the protocol: token_endpoint, client_id, …
     *
     * @throws ConfigurationException there is no such source, or a setting is missing
     */
    public static function token(string $kind, array $settings): mixed
    {
        $source = self::$sources[$kind . serialize($settings)] ??= self::create($kind, $settings);

        return $source();
    }

    /**
     * @param array<string, string> $settings
     *
     * @return callable(): mixed
     */
    private static function create(string $kind, array $settings): callable
    {
        if ($kind === 'oidc') {
            return new OidcToken(
                $settings['token_endpoint'] ?? '',
                $settings['client_id'] ?? '',
                $settings['client_secret'] ?? '',
                $settings['scope'] ?? null,
                self::pairs($settings['extensions'] ?? ''),
                $settings['ca'] ?? null
            );
        }
        if ($kind === 'aws-msk-iam') {
            return new AwsMskIamToken($settings['region'] ?? null);
        }
        $source = class_exists($kind) ? new $kind() : $kind;

        return is_callable($source) ? Closure::fromCallable($source) : throw new ConfigurationException(
            "security.token is '$kind', which is neither 'oidc', 'aws-msk-iam', a function nor a class with __invoke()."
        );
    }

    /** @return array<string, string> of `name=value,name=value` */
    private static function pairs(string $text): array
    {
        preg_match_all('/([^=,\s]+)=([^,]*)/', $text, $match);

        return array_combine($match[1], array_map('trim', $match[2]));
    }
}
