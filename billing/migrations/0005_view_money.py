from django.db import migrations, models


class Migration(migrations.Migration):
    """Who may see money; and the newest of many requests with one request id is found at once."""

    dependencies = [
        ('billing', '0004_attempts_beside_others'),
    ]

    operations = [
        migrations.AlterModelOptions(
            name='usagerecord',
            options={
                'ordering': ['-started_at'],
                'permissions': [('view_money', 'Can see what usage costs and is charged')],
            },
        ),
        migrations.RemoveIndex(model_name='usagerecord', name='usage_by_request_id'),
        migrations.AddIndex(
            model_name='usagerecord',
            index=models.Index(
                fields=['tenant', 'request_id', 'started_at'], name='usage_by_request_id'
            ),
        ),
    ]
