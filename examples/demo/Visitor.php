<?php

/**
 * A visitor of the page: identified by a random cookie, named after an animal.
 */

declare(strict_types=1);

namespace Demo;

final class Visitor
{
    private const NAMES = [
        'Otter', 'Heron', 'Gecko', 'Langur', 'Hornbill', 'Pangolin', 'Tapir', 'Civet',
        'Egret', 'Macaque', 'Kingfisher', 'Dhole', 'Loris', 'Mynah', 'Sambar', 'Turtle',
    ];

    private function __construct(public readonly string $id, public readonly string $name)
    {
    }

    /**
     * Sets the cookie if the browser has none.
     */
    public static function ofThisRequest(): self
    {
        $secret = (string) ($_COOKIE['visitor'] ?? '');
        if (preg_match('/\A[0-9a-f]{32}\z/', $secret) !== 1) {
            $secret = bin2hex(random_bytes(16));
            setcookie('visitor', $secret, ['path' => '/', 'httponly' => true, 'samesite' => 'Strict']);
        }
        // The cookie authenticates the visitor: other visitors see only an id derived from it.
        $id = substr(hash('sha256', $secret), 0, 8);

        return new self($id, self::NAMES[hexdec($id) % count(self::NAMES)]);
    }

    /** @return array{id: string, name: string} */
    public function toArray(): array
    {
        return ['id' => $this->id, 'name' => $this->name];
    }
}
