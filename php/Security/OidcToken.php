<?php

declare(strict_types=1);

namespace Toporia\Realtime\Security;

use RuntimeException;
use SensitiveParameter;
use Toporia\Realtime\Exception\ConfigurationException;
use Toporia\Realtime\Exception\ConnectionException;
use Toporia\Realtime\Support\HttpRequest;

/**
 * `security.token => 'oidc'`: access tokens of an identity provider, by OAuth 2.0 client credentials (RFC 6749, 4.4).
 */
final class OidcToken
{
    private const TIMEOUT_SECONDS = 10;
    private const MAX_BYTES = 1 << 20;

    /**
     * @param array<string, string> $extensions SASL extensions for the broker
     * @param string|null $ca file of the certificate authority of the endpoint; null: the system's
     */
    public function __construct(
        private readonly string $endpoint,
        private readonly string $clientId,
        #[SensitiveParameter] private readonly string $clientSecret,
        private readonly ?string $scope = null,
        private readonly array $extensions = [],
        private readonly ?string $ca = null
    ) {
    }

    /**
     * @return array{token: string, lifetime?: int, extensions: array<string, string>}
     *
     * @throws ConnectionException the endpoint does not respond, or returns no token
     * @throws ConfigurationException it rejects the client
     */
    public function __invoke(): array
    {
        [$status, $body] = $this->request();
        $answer = json_decode($body, true);
        $answer = is_array($answer) ? $answer : [];
        $token = $answer['access_token'] ?? null;
        if ($status === 200 && is_string($token)) {
            $lifetime = $answer['expires_in'] ?? null;

            return ['token' => $token, 'extensions' => $this->extensions]
                + (is_numeric($lifetime) ? ['lifetime' => (int) $lifetime] : []);
        }
        $details = array_filter([$answer['error'] ?? null, $answer['error_description'] ?? null], 'is_string');
        $text = 'The token endpoint ' . HttpRequest::shown($this->endpoint) . " responds with HTTP $status and no access_token"
            . ($details === [] ? '' : ' (' . implode(': ', $details) . ')');
        if ($status >= 400 && $status < 500) {
            throw new ConfigurationException(
                "$text. Check security.client_id, security.client_secret and security.scope."
            );
        }
        throw new ConnectionException("$text.");
    }

    /** @return array<string, mixed> */
    public function __debugInfo(): array
    {
        return ['endpoint' => HttpRequest::shown($this->endpoint), 'clientId' => $this->clientId, 'scope' => $this->scope];
    }

    /** @return array{int, string} status and body */
    private function request(): array
    {
        $form = ['grant_type' => 'client_credentials'] + ($this->scope === null ? [] : ['scope' => $this->scope]);
        // RFC 6749, 2.3.1: both are form-encoded first.
        $user = base64_encode(urlencode($this->clientId) . ':' . urlencode($this->clientSecret));
        $headers = [
            'Content-Type' => 'application/x-www-form-urlencoded', 'Accept' => 'application/json',
            'Authorization' => "Basic $user",
        ];
        try {
            $request = new HttpRequest('POST', $this->endpoint, $headers, $this->ca);
            [$status, , $body] = $request->send(http_build_query($form), [], self::TIMEOUT_SECONDS, self::MAX_BYTES);
        } catch (RuntimeException $e) {
            $shown = HttpRequest::shown($this->endpoint);
            throw new ConnectionException("The token endpoint $shown does not respond: {$e->getMessage()}.");
        }

        return [$status, $body];
    }
}
