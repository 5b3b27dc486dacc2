<?php

/**
 * Prints the native classes according to Reflection, as JSON: of the loaded extension, or of the stubs without it.
 */

declare(strict_types=1);

$root = dirname(__DIR__, 3);
$native = extension_loaded('toporia_realtime');
require $root . '/php/autoload.php';

/** @return list<string> class names below the namespace, from the extension or from the stubs' paths */
$classes = static function () use ($root, $native): array {
    if ($native) {
        return (new ReflectionExtension('toporia_realtime'))->getClassNames();
    }
    $names = [];
    $folder = new RecursiveDirectoryIterator($root . '/stubs', FilesystemIterator::SKIP_DOTS);
    $files = new RecursiveIteratorIterator($folder);
    foreach ($files as $file) {
        if ($file->getExtension() === 'php') {
            $path = substr($file->getPathname(), strlen($root . '/stubs/'), -4);
            $names[] = 'Toporia\\Realtime\\' . strtr($path, '/', '\\');
        }
    }

    return $names;
};

$value = static fn (mixed $value): string => json_encode($value, JSON_THROW_ON_ERROR | JSON_UNESCAPED_SLASHES);

// The order of the types in a union has no meaning.
$type = static function (?ReflectionType $type): string {
    $parts = explode('|', (string) $type);
    sort($parts);

    return implode('|', $parts);
};

$parameter = static function (ReflectionParameter $p) use ($value, $type): string {
    return $type($p->getType())
        . ($p->isPassedByReference() ? ' &' : ' ') . ($p->isVariadic() ? '...' : '') . '$' . $p->getName()
        . ($p->isDefaultValueAvailable() ? ' = ' . $value($p->getDefaultValue()) : ($p->isOptional() ? ' = ?' : ''));
};

$method = static function (ReflectionMethod $m) use ($parameter, $type): string {
    $returned = $m->getReturnType() ?? $m->getTentativeReturnType();

    return implode(' ', Reflection::getModifierNames($m->getModifiers())) . ' function ' . $m->getName()
        . '(' . implode(', ', array_map($parameter, $m->getParameters())) . ')'
        . ($returned === null ? '' : ': ' . $type($returned));
};

$describe = static function (string $name) use ($method, $value, $type): array {
    $class = new ReflectionClass($name);
    // Of inherited members, only those that one of our classes declares: PHP's own are the same on both sides.
    $ours = static fn ($m): bool => str_starts_with($m->getDeclaringClass()->getName(), 'Toporia\\Realtime\\');
    $constants = $properties = $methods = $docs = [];
    foreach ($class->getReflectionConstants() as $constant) {
        if ($ours($constant)) {
            $constants[$constant->getName()] = $value($constant->getValue());
        }
    }
    foreach ($class->getProperties() as $property) {
        if ($ours($property) && !$property->isPrivate()) {
            $modifiers = implode(' ', Reflection::getModifierNames($property->getModifiers()));
            $properties[$property->getName()] = $modifiers . ' ' . $type($property->getType());
        }
    }
    foreach ($class->getMethods() as $m) {
        // Private members are not compared, except a constructor that prevents `new`. The engine refuses to serialize
        // a native object without asking a method.
        $isCompared = !in_array($m->getName(), ['__serialize', '__unserialize'], true);
        if ($ours($m) && $isCompared && (!$m->isPrivate() || $m->isConstructor())) {
            $methods[$m->getName()] = $method($m);
            $docs[$m->getName() . '()'] = $m->getDocComment();
        }
    }
    $interfaces = $class->getInterfaceNames();
    sort($interfaces);
    ksort($constants);
    ksort($properties);
    ksort($methods);

    return [
        'shape' => [
            'kind' => match (true) {
                $class->isInterface() => 'interface',
                $class->isEnum() => 'enum',
                default => implode(' ', [...Reflection::getModifierNames($class->getModifiers()), 'class']),
            },
            'parent' => $class->getParentClass() ? $class->getParentClass()->getName() : null,
            'interfaces' => $interfaces,
            'constants' => $constants,
            'properties' => $properties,
            'methods' => $methods,
        ],
        'file' => $class->getFileName(),
        'docs' => ['' => $class->getDocComment()] + $docs,
    ];
};

$result = [];
foreach ($classes() as $name) {
    $result[(new ReflectionClass($name))->getName()] = $describe($name);
}
ksort($result);
echo json_encode($result, JSON_THROW_ON_ERROR | JSON_UNESCAPED_SLASHES);
