<?php

declare(strict_types=1);

namespace Toporia\Realtime\Support;

use Exception;

/** For the stubs: as an object of the extension, theirs can be neither cloned nor serialized. */
trait NativeObject
{
    private function __clone()
    {
    }

    /** @throws Exception always */
    public function __serialize(): array
    {
        throw new Exception("Serialization of '" . self::class . "' is not allowed");
    }

    /**
     * @param array<mixed> $data
     *
     * @throws Exception always
     */
    public function __unserialize(array $data): void
    {
        throw new Exception("Unserialization of '" . self::class . "' is not allowed");
    }
}
